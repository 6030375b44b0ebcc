"""The picture of docs/attacks.md: AP beside the detection loss, along an attack on the loss and along one on AP itself.

python -m publish.draw_objectives run=outputs/demo

Both begin at the clean images, in the same ball, and take as many gradients. After every step the images are scored by
pycocotools. The images are the first test images of the run in one batch.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from hydra_det.attacks.base import Attack, LossFunction, evaluate
from hydra_det.attacks.gradient import PGD
from hydra_det.attacks.momentum import Momentum
from hydra_det.callbacks.hardening.attacked_images import content_region, losses_of
from hydra_det.data.dataset import collate
from hydra_det.data.sampler import SampleKey
from hydra_det.evaluation.coco_map import average_precision, coco_results, only_images
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.masked_conv import make_dense
from hydra_det.modules.undisturbed import undisturbed

STEPS = 40
COLOURS = {"loss": "#2a6f97", "AP": "#c1666b"}


class Walk(NamedTuple):
    """What becomes of the images, a step at a time, the clean ones first."""

    losses: list[float]  # mean detection loss
    precisions: list[float]  # AP


def main() -> None:
    """Draw."""
    options = _options()
    walks = take_walks(options.run, network=options.network, images=options.images, epsilon=options.epsilon / 255)
    for name, walk in walks.items():
        print(f"on the {name}: loss {walk.losses[0]:.1f} -> {walk.losses[-1]:.1f}, "
              f"AP {walk.precisions[0]:.3f} -> {walk.precisions[-1]:.3f}")  # fmt: skip
    draw(walks).savefig(options.output, dpi=110)


def take_walks(folder: Path, *, network: str, images: int, epsilon: float) -> dict[str, Walk]:
    """Both walks of a network of a finished run, by what is attacked.

    Args:
        folder: of the run.
        network: dense or pruned.
        images: how many.
        epsilon: of the ball, in units of images in [0, 1].
    """
    run = FinishedRun(folder)
    run.data.prepare()
    samples = run.data.dataset("test")
    batch = collate([samples[SampleKey(0, place)] for place in range(min(images, len(samples)))])
    net = make_dense(run.network(network)).eval()
    truth = only_images(run.data.ground_truth("test"), [target["image_id"] for target in batch["targets"]])

    def score(moved: Tensor) -> float:
        found = net.detections(net(moved))  # type: ignore[operator]
        results = []
        for one, target in zip(found, batch["targets"], strict=True):
            own = one._replace(boxes=target["letterbox"].to_original(one.boxes))
            results += coco_results(target["image_id"], own, run.data.category_ids)
        return average_precision(truth, results)["map"] or 0.0

    attacks: dict[str, Attack] = {
        "loss": PGD(epsilon=epsilon, step_size=None, steps=STEPS),
        "AP": Momentum(epsilon=epsilon, steps=STEPS),
    }
    walks = {}
    with undisturbed(net):
        losses = losses_of(net, batch["targets"])
        for name, attack in attacks.items():
            seen: list[Tensor] = []
            recorded = {key: _recorded(loss, seen) for key, loss in losses.items()}
            end = attack(batch["images"], recorded, region=content_region(batch))
            ways = [*seen, end]
            walks[name] = Walk(
                [float(evaluate(losses["total"], moved).mean()) for moved in ways], [score(moved) for moved in ways]
            )
    return walks


def draw(walks: dict[str, Walk]) -> Figure:
    """Beside each other: AP by the loss, and AP by the step."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, walk in walks.items():
        _line(left, walk.losses, walk.precisions, name)
        _line(right, range(len(walk.precisions)), walk.precisions, name)
    left.set_xlabel("detection loss, mean over images")
    left.set_ylabel("AP that is left")
    left.set_title("the same loss, not the same AP", loc="left", fontsize=11)
    right.set_xlabel("gradients")
    right.set_title("more steps on the loss do not close the gap", loc="left", fontsize=11)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _line(axes: Axes, across: Sequence[float], up: Sequence[float], name: str) -> None:
    axes.plot(across, up, "-o", markersize=3, color=COLOURS[name], label=f"attack on the {name}")


def _recorded(loss: LossFunction, seen: list[Tensor]) -> LossFunction:
    """The same loss, which keeps the images that it is asked about."""

    def asked(images: Tensor) -> Tensor:
        seen.append(images.detach().clone())
        return loss(images)

    return asked


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run=folder of a finished run")
    parser.add_argument("--network", default="dense", choices=("dense", "pruned"))
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--epsilon", type=float, default=8.0, help="in 255ths")
    parser.add_argument("--output", type=Path, default=Path("docs/objectives.png"))
    options = parser.parse_args()
    word, _, folder = options.run.partition("=")
    if word != "run" or not folder:
        sys.exit(f"expected run=folder, got {options.run}")
    options.run = Path(folder)
    torch.manual_seed(0)
    return options


if __name__ == "__main__":
    main()
