"""What DeepLIFT scores for all layers cost: one pass of ours, one with Captum's rules, and a Captum pass a layer.

    python -m benchmarks.deeplift --layers 5                  # YOLOv3 at 416 px; the passes of all layers take minutes
    python -m benchmarks.deeplift --model yolov3_tiny --only "one pass" "one pass, reveal_cancel"

The baseline is what a training step costs without its optimiser: forward, the loss, and backward to all weights, on the
same images. Memory is the peak of a process of its own for each variant, less what it holds before it begins.
"""

import argparse
import functools
import multiprocessing
import warnings
from collections.abc import Callable

import torch
from captum.attr import LayerDeepLift
from torch import Tensor, nn

from benchmarks.interleaved import chosen, compare, parsed, timing_options
from benchmarks.measured import Row
from benchmarks.subjects import network, random_batch
from hydra_det.boxes import PADDING
from hydra_det.callbacks.watching.pictures import spread
from hydra_det.evaluation.memory import peak_memory
from hydra_det.init.contributions import contributions
from hydra_det.init.rules import RULES
from hydra_det.init.targets import assigned
from tests.init.example import season
from tests.init.oracle import Explained, one_pass

BASELINE = "forward and backward"
A_LAYER = "Captum, a pass a layer"


def main() -> None:
    options = _options()
    warnings.filterwarnings("ignore", message="Setting forward, backward hooks|Input Tensor 0")
    made = chosen(variants(options), baseline=BASELINE, options=options)
    layers = sum(isinstance(module, nn.Conv2d) for module in network(options.model).modules())
    share = min(options.layers or layers, layers) / layers

    def memory(name: str) -> Row:
        return {"peak_mib": memory_of(options, name) / 2**20} if options.memory and name != A_LAYER else {}

    title = f"{options.model}, {options.image_size} px, batch {options.batch}"
    compare(title, made, baseline=BASELINE, options=options, once={A_LAYER: share}, more=memory)


def variants(options: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """By name, each over the same network, images and reference."""
    batch = random_batch(options.batch, options.image_size, options.device)
    images, targets = batch["images"], batch["targets"]
    net = season(network(options.model), images.cpu()[:1]).to(options.device)
    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    some = list(layers.values())
    if options.layers:
        some = [some[place] for place in sorted(spread(range(len(some)), min(options.layers, len(some))))]
    reference = torch.full_like(images[:1], PADDING)
    with torch.no_grad():
        counts = assigned(net, targets, net(images), [])

    def training() -> None:
        net.losses(net(images), targets).total.sum().backward()
        net.zero_grad()

    def ours(rule: str) -> dict[str, Tensor]:
        coefficients = functools.partial(assigned, net, targets)
        return contributions(net, images, reference, coefficients=coefficients, rule=RULES[rule]()).weights

    def a_pass_a_layer() -> None:
        explained = Explained(net, counts)
        for layer in some:
            method = LayerDeepLift(explained, layer)
            method.attribute(images, reference.expand_as(images), target=0)

    return {
        BASELINE: training,
        "one pass": lambda: ours("rescale"),
        "one pass, reveal_cancel": lambda: ours("reveal_cancel"),
        "Captum, one pass": lambda: one_pass(net, images, reference, counts, layers),
        A_LAYER: a_pass_a_layer,
    }


def memory_of(options: argparse.Namespace, name: str) -> int:
    """Bytes that a variant needs above the network and the images, by a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory_of, (options, name))


def _memory_of(options: argparse.Namespace, name: str) -> int:
    warnings.simplefilter("ignore")
    return peak_memory(variants(options)[name], device=options.device)


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=5, warmup=1, batch=2)
    parser.add_argument("--layers", type=int, default=0, help="with so many of Captum's passes, spread evenly; 0: all")
    parser.add_argument("--memory", action="store_true", help="measure peak memory too")
    return parsed(parser)


if __name__ == "__main__":
    main()
