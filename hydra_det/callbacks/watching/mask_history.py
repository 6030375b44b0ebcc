"""How masks and scores of a network move while it learns, for TensorBoard."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.modules.masked_conv import masked_layers

# TensorBoard draws 30; its own default of a thousand would take megabytes an epoch for the full YOLOv3.
BINS = 64


class MaskHistory:
    """Writes what the masked layers of a network are, and what became of them since it was asked before.

    Keeps one copy of the masks, a byte a weight.

    Args:
        layers: write every layer by its name, too, and not the layers together only.
    """

    def __init__(self, *, layers: bool = False) -> None:
        self.layers = layers
        self._before: dict[str, Tensor] = {}

    def begin(self, writer: Any, net: nn.Module, step: int) -> None:
        """Write the first state: sparsity and all scores. Flips are counted from here."""
        self.forget()
        self._before = {name: layer.mask.clone() for name, layer in masked_layers(net)}
        self._write_sparsity(writer, net, step)
        self._write_scores(writer, net, step, learning_only=False)

    def go_on(self, writer: Any, net: nn.Module, step: int) -> None:
        """Write the next state: sparsity, scores that learn, and the share of the masks that flipped since the last."""
        self._write_sparsity(writer, net, step)
        self._write_scores(writer, net, step, learning_only=True)
        layers = masked_layers(net)
        if not layers:
            return
        flips = {name: int((layer.mask != self._before[name]).sum()) for name, layer in layers}
        for name, layer in layers:
            self._before[name].copy_(layer.mask)
        self._write_shares(writer, "flips", flips, net, step)

    def forget(self) -> None:
        """Let go of the copy."""
        self._before = {}

    def _write_sparsity(self, writer: Any, net: nn.Module, step: int) -> None:
        removed = {name: layer.mask.numel() - int(layer.mask.sum()) for name, layer in masked_layers(net)}
        self._write_shares(writer, "sparsity", removed, net, step)

    def _write_shares(self, writer: Any, what: str, counts: dict[str, int], net: nn.Module, step: int) -> None:
        """Shares of weights: one number of the network, one histogram of its layers, and, if asked, every layer."""
        sizes = {name: layer.mask.numel() for name, layer in masked_layers(net)}
        if not sizes:
            return
        writer.add_scalar(f"mask/{what}", sum(counts.values()) / sum(sizes.values()), step)
        shares = {name: counts[name] / sizes[name] for name in sizes}
        _write_layers(writer, what, list(shares.values()), step)
        for name, share in shares.items() if self.layers else ():
            writer.add_scalar(f"{what}_of_layer/{name}", share, step)

    def _write_scores(self, writer: Any, net: nn.Module, step: int, *, learning_only: bool) -> None:
        sizes = []
        for name, layer in masked_layers(net):
            if layer.scores.requires_grad or not learning_only:
                scores = layer.scores.detach().float().cpu()
                if not torch.isfinite(scores).all():  # who only looks does not fail where a score ran away
                    scores = scores[torch.isfinite(scores)]
                if scores.numel():
                    sizes.append(float(scores.abs().mean()))
                    if self.layers:
                        writer.add_histogram(f"scores_of_layer/{name}", scores, step, bins=BINS)
        if sizes:
            _write_layers(writer, "score_size", sizes, step)


def _write_layers(writer: Any, what: str, values: Sequence[float], step: int) -> None:
    """One histogram, in which every layer counts once."""
    writer.add_histogram(f"layers/{what}", torch.tensor(values), step, bins=BINS)
