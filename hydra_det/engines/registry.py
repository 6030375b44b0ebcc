"""The engines by name, and a network exported to one of them and opened."""

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from hydra_det.engines.engine import Engine, Forward
from hydra_det.engines.onnx_engine import in_onnxruntime, write_int8, write_onnx
from hydra_det.engines.openvino_engine import has_bf16, in_openvino, write_openvino
from hydra_det.engines.sparse_engine import TOLERANCE, has_vectors, in_sparse
from hydra_det.engines.torch_engine import in_exported, in_torch, no_file, write_exported
from hydra_det.modules.raw_maps import FlatOutputs, filled
from hydra_det.types import InputError

ONNXRUNTIME, OPENVINO = ("onnx", "onnxruntime"), ("onnx", "openvino")
ENGINES: dict[str, Engine] = {
    "torch": Engine((), no_file, in_torch),
    "torch_bf16": Engine((), no_file, partial(in_torch, bf16=True), tolerance=None),
    "torch_export": Engine((), write_exported, in_exported),
    "onnxruntime": Engine(ONNXRUNTIME, write_onnx, in_onnxruntime),
    "onnxruntime_int8": Engine(ONNXRUNTIME, write_int8, in_onnxruntime, tolerance=None, calibrated=True),
    "openvino": Engine(OPENVINO, write_openvino, in_openvino),
    "openvino_fp16": Engine(OPENVINO, partial(write_openvino, fp16=True), in_openvino, tolerance=None),
    "openvino_bf16": Engine(
        OPENVINO,
        write_openvino,
        partial(in_openvino, precision="bf16"),
        has_bf16,
        None,
        needs="a processor that computes in bf16",
    ),
    "openvino_int8": Engine(
        (*OPENVINO, "onnxruntime"), partial(write_openvino, int8=True), in_openvino, tolerance=None, calibrated=True
    ),
    "sparse": Engine(
        ("numba",), no_file, in_sparse, has_vectors, TOLERANCE, extra="sparse", needs="a processor with AVX2 or AVX-512"
    ),
}


def is_foreign(name: str) -> bool:
    """Whether an engine loads the native code of another runtime, which may disturb torch's or crash."""
    return bool(ENGINES[name].packages) and ENGINES[name].extra == "export"


def check_installed(
    names: Sequence[str],
    *,
    ask: Callable[[Callable[[], bool]], bool] = lambda able: able(),
    setting: str = "engines",
    otherwise: str = "leave it out",
) -> None:
    """Refuse unknown engines, and those that cannot run here.

    Args:
        names: of engines.
        ask: calls what says whether the machine is able to; it may load the runtime.
        setting: that names them, for messages.
        otherwise: what can be done where one is missing, for messages.
    """
    for name in names:
        if name not in ENGINES:
            raise InputError(f"{setting}: expected some of {', '.join(ENGINES)}, got {name}")
        for package in ENGINES[name].packages:
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"{setting}: expected the package {package} for {name}, which is not installed; install "
                    f"hydra-det[{ENGINES[name].extra}], or {otherwise}"
                )
        able = ENGINES[name].able
        if able is not None and not ask(able):
            raise InputError(f"{setting}: expected {ENGINES[name].needs} for {name}, got one without; {otherwise}")


def in_engine(
    name: str, network: nn.Module, folder: Path, example: Tensor, *, threads: int
) -> tuple[Forward, Path | None]:
    """Export a network and open it.

    Args:
        name: a key of `ENGINES`.
        network: in eval mode, on the CPU.
        folder: for the files; one network, one folder.
        example: images [B, 3, H, W] as the network will see them; int8 takes its ranges from them.
        threads: of the CPU.

    Returns:
        Images -> raw maps of the network's own make, for any number of images of the example's size; and the file, None
        where there is none.
    """
    engine = ENGINES[name]
    with torch.no_grad():
        raw = network(example[:1])
    if isinstance(raw, list) and all(isinstance(maps, Tensor) for maps in raw):
        file = engine.write(network, folder, example)
        return engine.open(network, file, threads), file
    flat = FlatOutputs(network).eval()
    file = engine.write(flat, folder, example)
    forward = engine.open(flat, file, threads)
    return lambda images: filled(raw, forward(images)), file
