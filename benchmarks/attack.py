"""What does an attack cost beside its passes through the network?

python -m benchmarks.attack
python -m benchmarks.attack --model yolov3_nano --batch 8 --image-size 224 --rounds 15

PGD against as many bare passes, forward and backward to the images only, of the same dense network; the first on dense
and on masked layers. Then what makes a pass cheaper: no gradients of weights, bfloat16, channels_last, torch.compile,
and on a GPU a CUDA graph, which replays the kernels of the network forward and backward without Python.
"""

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.interleaved import chosen, compare, parsed, timing_options
from benchmarks.subjects import network, random_batch
from hydra_det.attacks.gradient import PGD
from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.modules.masked_conv import folded, make_masked
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch

PASSES = "passes alone"


def main() -> None:
    """Time all variants in turns."""
    options = _options()
    batch = random_batch(options.batch, options.image_size, options.device)
    steps = options.steps

    def made(*, masked: bool = False, **how: bool) -> Callable[[], object]:
        net: Any = network(options.model).to(options.device)
        return attack(make_masked(net) if masked else net, batch, steps, **how)

    variants: dict[str, Callable[[], Callable[[], object]]] = {
        PASSES: lambda: passes(network(options.model).to(options.device), batch, steps),
        f"PGD-{steps}": made,
        f"PGD-{steps}, masked": lambda: made(masked=True),
        "passes with gradients of weights": lambda: passes(
            network(options.model).to(options.device), batch, steps, weights=True
        ),
        f"PGD-{steps}, channels_last": lambda: made(channels_last=True),
        f"PGD-{steps}, bf16": lambda: made(bf16=True),
        f"PGD-{steps}, bf16, channels_last": lambda: made(bf16=True, channels_last=True),
        f"PGD-{steps}, compile": lambda: made(compiled=True),
    }
    if options.device == "cuda":
        variants[f"{PASSES}, CUDA graph"] = lambda: graphed_passes(network(options.model).cuda(), batch, steps)
    ready = {name: make() for name, make in chosen(variants, baseline=PASSES, options=options).items()}
    title = f"An attack on {options.model}, {options.image_size} px, batch {options.batch}"
    compare(title, ready, baseline=PASSES, options=options, images=options.batch)


def passes(net: Any, batch: Batch, steps: int, *, weights: bool = False) -> Callable[[], object]:
    """As many forward and backward passes as the attack makes, and nothing else."""
    net.eval()
    for parameter in net.parameters():
        parameter.requires_grad_(weights)

    def run() -> None:
        for _ in range(steps):
            images = batch["images"].detach().requires_grad_()
            loss = net.losses(net(images), batch["targets"]).total.sum()
            if weights:
                loss.backward()
                net.zero_grad()
            else:
                torch.autograd.grad(loss, images)

    return run


def graphed_passes(net: Any, batch: Batch, steps: int) -> Callable[[], object]:
    """`passes` whose network is recorded once, forward and backward; the loss has other kernels for other values."""
    net.eval().requires_grad_(False)  # as in `passes`; what is recorded must not ask for gradients of weights
    torch.cuda.make_graphed_callables(net, (batch["images"].detach().clone().requires_grad_(),))
    return passes(net, batch, steps)


def attack(
    net: Any, batch: Batch, steps: int, *, bf16: bool = False, channels_last: bool = False, compiled: bool = False
) -> Callable[[], object]:
    """The attack as the callback makes it, with all that it does to leave the network untouched."""
    net.train()
    if channels_last:
        net = net.to(memory_format=torch.channels_last)
    if compiled:
        net.compile()
    pgd = PGD(epsilon=0.05, step_size=0.02, steps=steps)
    images = batch["images"].contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    batch = Batch(images=images, targets=batch["targets"])
    kind = images.device.type

    def run() -> None:
        half = torch.autocast(kind, torch.bfloat16) if bf16 else contextlib.nullcontext()
        with undisturbed(net), folded(net), half:
            attacked_images(net, batch, pgd)

    return run


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=5, warmup=1, batch=2)
    parser.add_argument("--steps", type=int, default=5)
    return parsed(parser)


if __name__ == "__main__":
    main()
