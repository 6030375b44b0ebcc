"""Draws the picture of method.md.

    python -m publish.draw_method data=shapes

takes the pretrained network of that train.py command and one of its test images.
"""

import functools
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from benchmarks.command import Command
from hydra_det.boxes import PADDING
from hydra_det.data.dataset import collate
from hydra_det.data.sampler import SampleKey
from hydra_det.init.contributions import Contributions, contributions
from hydra_det.init.rules import Rescale
from hydra_det.init.targets import assigned
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch

TEST_IMAGE = 0


def main() -> None:
    command = Command(sys.argv[1:])
    runner = command.runner()
    net = runner.network(runner.run("pretrain"))
    batch = collate([command.data.dataset("test")[SampleKey(0, TEST_IMAGE)]])
    reference = torch.full_like(batch["images"], PADDING)
    coefficients = functools.partial(assigned, net, batch["targets"])
    with undisturbed(net):
        found = contributions(net, batch["images"], reference, coefficients=coefficients, rule=Rescale())

    figure, panels = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
    draw_secant(panels[0])
    draw_pixels(panels[1], batch, found.pixels[0])
    draw_cuts(panels[2], found)
    figure.savefig(Path("docs/method.png"), dpi=100)


def draw_secant(panel: Axes) -> None:
    """A leaky unit between a reference below 0 and an input above it."""
    z = np.linspace(-2.5, 2.5, 201)
    before, after = -1.5, 2.0
    outputs = {value: max(value, 0.1 * value) for value in (before, after)}
    panel.plot(z, np.maximum(z, 0.1 * z), color="black")
    panel.plot([before, after], [outputs[before], outputs[after]], "o-", color="tab:red", label="multiplier: secant")
    panel.plot([0.9, 2.5], [0.9, 2.5], "--", color="tab:blue", linewidth=3, alpha=0.5, label="gradient: tangent")
    arrow = {"arrowstyle": "->"}
    panel.annotate(
        "reference\n(z_ref, f(z_ref))", (before, outputs[before]), (before, -0.8), ha="center", arrowprops=arrow
    )
    panel.annotate("image\n(z, f(z))", (after, outputs[after]), (1.3, 2.2), ha="center", arrowprops=arrow)
    panel.set(title="a leaky unit, slope 0.1 below 0", xlabel="input z", ylabel="output", ylim=(-1, 2.6))
    panel.legend(loc="upper left", fontsize=9)


def draw_pixels(panel: Axes, batch: Batch, pixels: Tensor) -> None:
    """What the pixels contribute to the logits of the assigned anchors, over the image in grey."""
    grey = batch["images"][0].mean(0)
    panel.imshow(grey, cmap="gray", vmin=-0.5, vmax=1.5)
    values = pixels.sum(0)
    limit = float(values.abs().quantile(0.995))
    drawn = panel.imshow(values, cmap="bwr", vmin=-limit, vmax=limit, alpha=(values.abs() / limit).clamp(max=1))
    plt.colorbar(drawn, ax=panel, extend="both", shrink=0.8)
    for x1, y1, x2, y2 in batch["targets"][0]["boxes"].tolist():
        panel.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="black"))
    panel.set(title="contributions of pixels", xticks=[], yticks=[])


def draw_cuts(panel: Axes, found: Contributions) -> None:
    """The same number at four cuts."""
    heads = [values for name, values in found.weights.items() if "head" in name]
    cuts = {
        "t(x) - t(x_ref)": found.differences.sum(),
        "pixels": found.pixels.sum(),
        "weights of the\nfirst convolution": found.weights["backbone.stem.conv"].sum(),
        "weights of the\nthree heads": torch.stack([values.sum() for values in heads]).sum(),
    }
    bars = panel.barh(list(cuts), [value.item() for value in cuts.values()], color=["black", *["tab:red"] * 3])
    whole = cuts["t(x) - t(x_ref)"]
    labels = [f"{value.item():.4f}\nmisses {abs(value / whole - 1).item():.0e}" for value in cuts.values()]
    panel.bar_label(bars, [f"{whole.item():.4f}", *labels[1:]], padding=4)
    panel.margins(x=0.35)
    panel.invert_yaxis()
    panel.set(title="what contributions sum to, in float32")


if __name__ == "__main__":
    main()
