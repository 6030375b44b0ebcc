"""Runtimes that a network is exported to, each with its file and a forward that takes and gives torch tensors."""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hydra_det.types import InputError

Forward = Callable[[Tensor], list[Tensor]]

FLOAT_TOLERANCE = 1e-3  # float32 sums in another order; ten times what was seen
ONNX, INT8, EXPORTED = "network.onnx", "network_int8.onnx", "network.pt2"


class Engine(NamedTuple):
    """How a network gets into a runtime.

    Attributes:
        packages: that must be installed.
        write: (network, folder, example images [B, 3, H, W]) -> the file; what lies in the folder already is used,
            unless opening it could run code.
        open: (network, file, threads) -> forward.
        able: whether this machine can compute so.
        tolerance: of the raw maps to those of torch, as a share of their largest value; None: rounding is wanted.
    """

    packages: tuple[str, ...]
    write: Callable[[nn.Module, Path, Tensor], Path | None]
    open: Callable[[nn.Module, Path | None, int], Forward]
    able: Callable[[], bool] = lambda: True
    tolerance: float | None = FLOAT_TOLERANCE


def check_installed(names: Sequence[str]) -> None:
    """Refuse unknown engines, and those that cannot run here."""
    for name in names:
        if name not in ENGINES:
            raise InputError(f"engines: expected some of {', '.join(ENGINES)}, got {name}")
        for package in ENGINES[name].packages:
            if importlib.util.find_spec(package) is None:
                raise InputError(
                    f"engines: expected the package {package} for {name}, which is not installed; install "
                    f"hydra-det[export], or leave {name} out"
                )
        if not ENGINES[name].able():
            raise InputError(f"engines: expected a processor that computes in bf16 for {name}, got one that does not")


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
        Images -> raw maps, for any number of images of the example's size; and the file, None where there is none.
    """
    engine = ENGINES[name]
    file = engine.write(network, folder, example)
    return engine.open(network, file, threads), file


def _no_file(_network: nn.Module, _folder: Path, _example: Tensor) -> None:
    return None


def _torch(network: nn.Module, _file: Path | None, _threads: int, *, bf16: bool = False) -> Forward:
    def forward(images: Tensor) -> list[Tensor]:
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            return [raw.float() for raw in network(images)]

    return forward


def _write_onnx(network: nn.Module, folder: Path, example: Tensor) -> Path:
    file = folder / ONNX
    if not file.exists():
        outputs = [f"raw_{level}" for level in range(len(network(example[:1])))]
        axes = {name: {0: "batch"} for name in ("images", *outputs)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the exporter without dynamo is the older one
            torch.onnx.export(
                network, (example[:1],), str(file), input_names=["images"], output_names=outputs, dynamic_axes=axes,
                dynamo=False,
            )  # fmt: skip
    return file


def _write_int8(network: nn.Module, folder: Path, example: Tensor) -> Path:
    """Static quantisation of ONNX Runtime: 8-bit weights per channel, 8-bit maps; the heads stay in float."""
    import onnx  # noqa: PLC0415 - optional packages
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # noqa: PLC0415

    class Examples(CalibrationDataReader):
        def __init__(self) -> None:
            self.images = iter([{"images": image[None].numpy()} for image in example])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.images, None)

    source, file = _write_onnx(network, folder, example), folder / INT8
    if not file.exists():
        whole = _stays_float(list(onnx.load(str(source)).graph.node))
        quantize_static(
            str(source), str(file), Examples(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=whole,
        )  # fmt: skip
    return file


def _stays_float(nodes: Sequence[Any]) -> list[str]:
    """The heads, whose rounding would be rounding of boxes, and padding with -infinity, which has no range."""
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in nodes:
        after = [reader for name in node.output for reader in readers.get(name, [])]
        if node.op_type == "Pad":
            found += [node.name, *(reader.name for reader in after)]
        elif node.op_type == "Conv" and any(reader.op_type in ("Shape", "Reshape") for reader in after):
            found.append(node.name)
    return found


def _onnxruntime(_network: nn.Module, file: Path | None, threads: int) -> Forward:
    import onnxruntime  # noqa: PLC0415

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    # Threads that wait for work in a loop would slow down whatever runs next.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(raw) for raw in session.run(None, {"images": images.numpy()})]


def _write_openvino(
    network: nn.Module, folder: Path, example: Tensor, *, fp16: bool = False, int8: bool = False
) -> Path:
    import openvino  # noqa: PLC0415

    source = (_write_int8 if int8 else _write_onnx)(network, folder, example)
    file = folder / f"network{'_fp16' if fp16 else '_int8' if int8 else ''}.xml"
    if not file.exists():
        model = openvino.convert_model(str(source))
        model.reshape([-1, *example.shape[1:]])
        openvino.save_model(model, str(file), compress_to_fp16=fp16)
    return file


def _openvino(_network: nn.Module, file: Path | None, threads: int, *, precision: str = "f32") -> Forward:
    import openvino  # noqa: PLC0415

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    made = openvino.compile_model(str(file), "CPU", settings)

    def forward(images: Tensor) -> list[Tensor]:
        found = made(images.numpy())
        return [torch.from_numpy(found[output]).float() for output in made.outputs]

    return forward


def _has_bf16() -> bool:
    import openvino  # noqa: PLC0415

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _write_exported(network: nn.Module, folder: Path, example: Tensor) -> Path:
    """Always anew: torch unpickles such a file when it opens it, so only what was written just now is opened."""
    file = folder / EXPORTED
    file.unlink(missing_ok=True)
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=1024)}}
    # Two images: one would be taken for a constant.
    with torch.no_grad():
        torch.export.save(torch.export.export(network, (example[:1].repeat(2, 1, 1, 1),), dynamic_shapes=shapes), file)
    return file


def _exported(_network: nn.Module, file: Path | None, threads: int) -> Forward:
    module: Any = torch.export.load(str(file)).module()
    return _torch(module, None, threads)


ONNXRUNTIME, OPENVINO = ("onnx", "onnxruntime"), ("onnx", "openvino")
ENGINES: dict[str, Engine] = {
    "torch": Engine((), _no_file, _torch),
    "torch_bf16": Engine((), _no_file, partial(_torch, bf16=True), tolerance=None),
    "torch_export": Engine((), _write_exported, _exported),
    "onnxruntime": Engine(ONNXRUNTIME, _write_onnx, _onnxruntime),
    "onnxruntime_int8": Engine(ONNXRUNTIME, _write_int8, _onnxruntime, tolerance=None),
    "openvino": Engine(OPENVINO, _write_openvino, _openvino),
    "openvino_fp16": Engine(OPENVINO, partial(_write_openvino, fp16=True), _openvino, tolerance=None),
    "openvino_bf16": Engine(OPENVINO, _write_openvino, partial(_openvino, precision="bf16"), _has_bf16, None),
    "openvino_int8": Engine((*OPENVINO, "onnxruntime"), partial(_write_openvino, int8=True), _openvino, tolerance=None),
}
