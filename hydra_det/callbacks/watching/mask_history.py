"""How masks and scores of a network move while it learns, for TensorBoard."""

from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.modules.masked_conv import masked_layers

# TensorBoard draws 30; its own default of a thousand would take megabytes an epoch for the full YOLOv3.
BINS = 64


class MaskHistory:
    """Writes what the masked layers of a network are, and what became of them since it was asked before.

    Keeps one copy of the masks, a byte a weight.
    """

    def __init__(self) -> None:
        self._before: dict[str, Tensor] = {}

    def begin(self, writer: Any, net: nn.Module, step: int) -> None:
        """Write the first state: sparsity and all scores. Flips are counted from here."""
        self.forget()
        self._before = {name: layer.mask.clone() for name, layer in masked_layers(net)}
        _write_sparsity(writer, net, step)
        _write_scores(writer, net, step, learning_only=False)

    def go_on(self, writer: Any, net: nn.Module, step: int) -> None:
        """Write the next state: sparsity, scores that learn, and the share of the masks that flipped since the last."""
        _write_sparsity(writer, net, step)
        _write_scores(writer, net, step, learning_only=True)
        layers = masked_layers(net)
        if not layers:
            return
        flips = {name: int((layer.mask != self._before[name]).sum()) for name, layer in layers}
        for name, layer in layers:
            self._before[name].copy_(layer.mask)
            writer.add_scalar(f"mask_flips/{name}", flips[name] / layer.mask.numel(), step)
        weights = sum(layer.mask.numel() for _, layer in layers)
        writer.add_scalar("mask/flips", sum(flips.values()) / weights, step)

    def forget(self) -> None:
        """Let go of the copy."""
        self._before = {}


def _write_sparsity(writer: Any, net: nn.Module, step: int) -> None:
    kept = {name: (int(layer.mask.sum()), layer.mask.numel()) for name, layer in masked_layers(net)}
    for name, (left, weights) in kept.items():
        writer.add_scalar(f"sparsity/{name}", 1 - left / weights, step)
    if kept:
        left, weights = (sum(counts) for counts in zip(*kept.values(), strict=True))
        writer.add_scalar("sparsity/total", 1 - left / weights, step)


def _write_scores(writer: Any, net: nn.Module, step: int, *, learning_only: bool) -> None:
    for name, layer in masked_layers(net):
        if layer.scores.requires_grad or not learning_only:
            scores = layer.scores.detach().float().cpu()
            if not torch.isfinite(scores).all():  # who only looks does not fail where a score ran away
                scores = scores[torch.isfinite(scores)]
            if scores.numel():
                writer.add_histogram(f"scores/{name}", scores, step, bins=BINS)
