"""How long is a step of score training under attack, against layers that sort their scores in every forward pass?

python -m benchmarks.score_step
python -m benchmarks.score_step --model yolov3_nano --image-size 224

The reference is what HYDRA's public layers do, written plainly: every forward pass sorts the scores of a layer to find
its mask and multiplies the weights by it, in the passes of the attack too. Ours refreshes the masks once per optimiser
step and applies them once per attack. Both attacks ask for the gradient of the images alone.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.interleaved import compare, parsed, timing_options
from benchmarks.subjects import network, optimizer_of, random_batch
from hydra_det.attacks.gradient import PGD
from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.compaction.channels import layout
from hydra_det.modules.masked_conv import folded, make_masked, masked_layers
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import PruneSettings
from hydra_det.types import Batch

EPSILON, STEP, RATIO = 0.05, 0.02, 0.75
REFERENCE = "sorts in every forward"


def main() -> None:
    """Time both steps in turns."""
    options = _options()
    batch = random_batch(options.batch, options.image_size, options.device)
    variants = {
        REFERENCE: reference_step(network(options.model).to(options.device), batch, options.steps),
        "ours": our_step(network(options.model).to(options.device), batch, options.steps),
    }
    subject = f"{options.model} under PGD-{options.steps}"
    title = f"A step of score training of {subject}, {options.image_size} px, batch {options.batch}"
    compare(title, variants, baseline=REFERENCE, options=options, images=options.batch)


class _TopK(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, importance: Tensor, keep: int) -> Tensor:
        mask = torch.zeros_like(importance)
        mask.view(-1)[importance.flatten().sort(descending=True).indices[:keep]] = 1
        return mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class SortingConv2d(nn.Conv2d):
    """A convolution that makes its mask anew in every forward pass."""

    scores: nn.Parameter

    def forward(self, images: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H', W']"""
        keep = self.weight.numel() - round(RATIO * self.weight.numel())
        weight = self.weight * _TopK.apply(self.scores.abs(), keep)
        return F.conv2d(images, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def reference_step(net: Any, batch: Batch, steps: int) -> Callable[[], object]:
    """Attack, forward, backward, optimiser, the plain way."""
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    scores = []
    for module in net.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = SortingConv2d
            module.register_parameter("scores", nn.Parameter(module.weight.clone()))
            scores.append(module.get_parameter("scores"))
    net.eval()  # BatchNorm is frozen
    optimizer = torch.optim.AdamW(scores, lr=1e-3)

    def step() -> None:
        clean = moved = batch["images"]
        for _ in range(steps):
            moved = moved.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(net.losses(net(moved), batch["targets"]).total.sum(), moved)
            moved = (moved + STEP * gradient.sign()).clamp(clean - EPSILON, clean + EPSILON).clamp(0, 1)
        optimizer.zero_grad()
        net.losses(net(moved.detach()), batch["targets"]).total.mean().backward()
        optimizer.step()

    return step


def our_step(net: Any, batch: Batch, steps: int) -> Callable[[], object]:
    """The same as the callbacks do it."""
    optimizer, refresh = learning_scores(make_masked(net))
    attack = PGD(epsilon=EPSILON, step_size=STEP, steps=steps)

    def step() -> None:
        with undisturbed(net), folded(net):
            moved = attacked_images(net, batch, attack)
        optimizer.zero_grad()
        net.losses(net(moved), batch["targets"]).total.mean().backward()
        optimizer.step()
        refresh()

    return step


def learning_scores(net: Any) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """Let the scores of a masked network learn, and nothing else; they begin as its weights, under their masks.

    Returns:
        The optimiser of the scores, and what makes the masks of single weights anew.
    """
    net.eval()  # BatchNorm is frozen
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    layers = masked_layers(net)
    for _, layer in layers:
        layer.scores.data.copy_(layer.weight)
        layer.scores.requires_grad_(True)
    plan = mask_plan(PruneSettings(granularity="weight", ratio=RATIO), layout(net))

    def refresh() -> None:
        for name, mask in plan.masks({name: layer.scores.detach() for name, layer in layers}).items():
            net.get_submodule(name).mask.copy_(mask)

    refresh()
    return optimizer_of(net), refresh


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=3, warmup=1, batch=2)
    parser.add_argument("--steps", type=int, default=5)
    return parsed(parser)


if __name__ == "__main__":
    main()
