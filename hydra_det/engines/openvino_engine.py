"""OpenVINO, from the ONNX files."""

from pathlib import Path

import torch
from torch import Tensor, nn

from hydra_det.engines.engine import Forward
from hydra_det.engines.onnx_engine import write_int8, write_onnx


def write_openvino(
    network: nn.Module, folder: Path, example: Tensor, *, fp16: bool = False, int8: bool = False
) -> Path:
    """From the ONNX file; for images of the example's size, any number of them."""
    import openvino  # noqa: PLC0415

    source = (write_int8 if int8 else write_onnx)(network, folder, example)
    file = folder / f"network{'_fp16' if fp16 else '_int8' if int8 else ''}.xml"
    if not file.exists():
        model = openvino.convert_model(str(source))
        model.reshape([-1, *example.shape[1:]])
        openvino.save_model(model, str(file), compress_to_fp16=fp16)
    return file


def in_openvino(_network: nn.Module, file: Path | None, threads: int, *, precision: str = "f32") -> Forward:
    """Forward on the CPU in one of OpenVINO's precisions."""
    import openvino  # noqa: PLC0415

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
    made = openvino.compile_model(str(file), "CPU", settings)

    def forward(images: Tensor) -> list[Tensor]:
        found = made(images.numpy())
        return [torch.from_numpy(found[output]).float() for output in made.outputs]

    return forward


def has_bf16() -> bool:
    """Whether the processor computes in bf16."""
    import openvino  # noqa: PLC0415

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
