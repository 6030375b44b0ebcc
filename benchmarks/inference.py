"""How long does a dense network take for one image, in PyTorch, ONNX Runtime and OpenVINO?

python -m benchmarks.inference
python -m benchmarks.inference --model yolov3_tiny --rounds 50
python -m benchmarks.inference --device cuda --only "eager, bf16" "CUDA graph"

Only the forward pass is timed, on one image: decoding and suppression are the same code for all. What every runtime
answers is compared with PyTorch's float32 answer first. The runtimes are timed on the CPU and need the extra `export`;
a CUDA graph, which replays the kernels of a pass without Python, needs a GPU.
"""

import argparse
import copy
import importlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.interleaved import chosen, compare, parsed, timing_options
from benchmarks.subjects import network, random_batch

Forward = Callable[[], Sequence[Tensor]]

DIFFERENCE = "largest difference from eager, of the largest value"
LARGEST = 0.05  # bfloat16 differs by some thousandths


def main() -> None:
    """Time all runtimes in turns."""
    options = _options()
    size = options.image_size
    image = random_batch(1, size, options.device)["images"]
    net = network(options.model).eval().to(options.device)
    makers: dict[str, Callable[[], Forward]] = {
        "eager": lambda: eager(net, image),
        "eager, channels_last": lambda: eager(net, image, channels_last=True),
        "eager, bf16": lambda: eager(net, image, bf16=True),
        "eager, bf16, channels_last": lambda: eager(net, image, bf16=True, channels_last=True),
        "compile": lambda: compiled(net, image),
    }
    if options.device == "cuda":
        makers["CUDA graph"] = lambda: Graphed(eager(net, image))
        makers["CUDA graph, bf16, channels_last"] = lambda: Graphed(eager(net, image, bf16=True, channels_last=True))
    else:
        makers["onnxruntime"] = lambda: onnx_runtime(net, image)
        makers["openvino"] = lambda: open_vino(net, image)
    made = {name: make() for name, make in chosen(makers, baseline="eager", options=options).items()}
    wanted = made["eager"]()
    worst = {name: difference(forward(), wanted) for name, forward in made.items()}
    if wrong := [f"{name}: {found}" for name, found in worst.items() if not found <= LARGEST]:
        raise SystemExit(
            f"expected the answers of eager, found a difference of more than {LARGEST}: {'; '.join(wrong)}"
        )
    title = f"Forward of {options.model}, one image of {size} px"
    compare(title, made, baseline="eager", options=options, images=1, more=lambda name: {DIFFERENCE: worst[name]})


def difference(answers: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference of any map, of the largest value of that map; NaN where there is one."""
    pairs = zip(answers, wanted, strict=True)
    return float(torch.stack([(mine - theirs).abs().max() / theirs.abs().max() for mine, theirs in pairs]).max())


def eager(net: nn.Module, image: Tensor, *, channels_last: bool = False, bf16: bool = False) -> Forward:
    """PyTorch as it is."""
    if channels_last:
        net, image = copy.deepcopy(net), image.to(memory_format=torch.channels_last)
        net.to(memory_format=torch.channels_last)

    def forward() -> Sequence[Tensor]:
        with torch.inference_mode(), torch.autocast(image.device.type, torch.bfloat16, enabled=bf16):
            return net(image)

    return forward


class Graphed:
    """The kernels of a pass on the GPU, recorded once. It keeps the pass: they read its weights and its image."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):  # what is set up in the first passes must not be recorded
            for _ in range(3):
                forward()
        torch.cuda.current_stream().wait_stream(beside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.answers = forward()

    def __call__(self) -> Sequence[Tensor]:
        """The answers, which the next call overwrites."""
        self.graph.replay()
        return self.answers


def compiled(net: nn.Module, image: Tensor) -> Forward:
    """`torch.compile`, which makes C++ code, or Triton's on a GPU."""
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
    onnxruntime = importlib.import_module("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    values = {"images": image.numpy()}
    return lambda: [torch.from_numpy(array) for array in session.run(None, values)]


def open_vino(net: nn.Module, image: Tensor) -> Forward:
    """The same network in OpenVINO, in float32."""
    openvino = importlib.import_module("openvino")
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.convert_model(net, example_input=image, input=list(image.shape))
    made = openvino.compile_model(model, "CPU", settings)
    values = image.numpy()
    return lambda: [torch.from_numpy(array) for array in made(values).values()]


def _options() -> argparse.Namespace:
    return parsed(timing_options(__doc__, rounds=15, warmup=3))


if __name__ == "__main__":
    main()
