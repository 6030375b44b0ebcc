"""How long does a dense network take for one image, in PyTorch, ONNX Runtime and OpenVINO?

python -m benchmarks.inference
python -m benchmarks.inference --model yolov3_tiny --rounds 50

Only the forward pass is timed, on one image: decoding and suppression are the same code for all. What every runtime
answers is compared with PyTorch's float32 answer first. Needs the extra `export`.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import onnxruntime
import openvino
import torch
from torch import Tensor, nn

from benchmarks.interleaved import show, time_in_turns, timing_options
from benchmarks.subjects import network

Forward = Callable[[], Sequence[Tensor]]


def main() -> None:
    """Time all runtimes in turns."""
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    image = torch.rand(1, 3, options.image_size, options.image_size, generator=torch.Generator().manual_seed(0))
    net = network(options.model).eval()
    makers: dict[str, Callable[[], Forward]] = {
        "eager": lambda: eager(net, image),
        "eager, channels_last": lambda: eager(net, image, channels_last=True),
        "eager, bf16": lambda: eager(net, image, bf16=True),
        "eager, bf16, channels_last": lambda: eager(net, image, bf16=True, channels_last=True),
        "compile": lambda: compiled(net, image),
        "onnxruntime": lambda: onnx_runtime(net, image),
        "openvino": lambda: open_vino(net, image),
    }
    made = {name: make() for name, make in makers.items() if not options.only or name in ("eager", *options.only)}
    wanted = made["eager"]()
    for name, forward in made.items():
        worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(forward(), wanted, strict=True))
        print(f"{name}: largest difference from eager, of the largest value: {worst:.1e}")
    seconds = time_in_turns(made, rounds=options.rounds, warmup=options.warmup)
    show(f"Forward of {options.model}, one image of {options.image_size} px, cpu", seconds, baseline="eager")


def eager(net: nn.Module, image: Tensor, *, channels_last: bool = False, bf16: bool = False) -> Forward:
    """PyTorch as it is."""
    if channels_last:
        net, image = copy.deepcopy(net), image.to(memory_format=torch.channels_last)
        net.to(memory_format=torch.channels_last)

    def forward() -> Sequence[Tensor]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return net(image)

    return forward


def compiled(net: nn.Module, image: Tensor) -> Forward:
    """`torch.compile` with its C++ code."""
    made = torch.compile(net)

    def forward() -> Sequence[Tensor]:
        with torch.inference_mode():
            return made(image)

    return forward


def onnx_runtime(net: nn.Module, image: Tensor) -> Forward:
    """An ONNX file in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "network.onnx"))
        torch.onnx.export(net, (image,), file, input_names=["images"], dynamo=False)
        content = Path(file).read_bytes()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    values = {"images": image.numpy()}
    return lambda: [torch.from_numpy(array) for array in session.run(None, values)]


def open_vino(net: nn.Module, image: Tensor) -> Forward:
    """The same network in OpenVINO, in float32."""
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.convert_model(net, example_input=image, input=list(image.shape))
    made = openvino.compile_model(model, "CPU", settings)
    values = image.numpy()
    return lambda: [torch.from_numpy(array) for array in made(values).values()]


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=15, warmup=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
