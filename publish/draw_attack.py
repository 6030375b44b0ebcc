"""The picture of the README: a photo clean, attacked, and attacked where the network was hardened and pruned.

python -m publish.draw_attack dense=outputs/runs/<run> hardened=outputs/runs/<run>

The first run gives its dense network, the second one its pruned network. The panels show the photo as the networks see
it, at the size of their input, and the attack knows the network that it attacks. The photo is a validation image.
Without --image it is the typical one: its three panels are nearest to the mean over all validation images, or over
those with as many --objects.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor
from torchvision.ops import box_iou

from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.data.dataset import collate
from hydra_det.data.sampler import SampleKey
from hydra_det.finished.predict import content_pixels
from hydra_det.finished.run import FinishedRun
from hydra_det.modules.masked_conv import make_dense
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.pipeline import build
from hydra_det.types import Batch, Detections, InputError, Pixels

NETWORKS = {"dense": "dense", "hardened": "pruned"}  # which network of its run is shown
PANELS = (("dense", False), ("dense", True), ("hardened", True))  # network, attacked
AT_ONCE = 16  # images
OVERLAP = 0.5  # from which a box finds an object
KINDS: dict[str, tuple[str, Any]] = {  # of boxes: colour and line
    "right": ("#00c2ff", "-"),
    "wrong": ("#ff2d2d", "-"),
    "missed": ("#000000", ":"),
}


class Seen(NamedTuple):
    """A panel: what a network saw and the boxes by kind, in pixels of the original photo. [N, 4] each"""

    pixels: Pixels
    right: Tensor
    wrong: Tensor
    missed: Tensor

    @property
    def score(self) -> float:
        """F1: 1 where every object is found and nothing else."""
        right, others = len(self.right), len(self.wrong) + len(self.missed)
        return 2 * right / (2 * right + others) if right + others else 1.0


def main() -> None:
    """Draw."""
    options = _options()
    shown = Shown(options.runs, confidence=options.confidence, epsilon=options.epsilon)
    index = options.image
    if index is None:
        places = shown.with_objects(options.objects)
        index = places[typical([[seen.score for seen in panels] for panels in shown.panels(places)])]
    (panels,) = shown.panels([index])
    print(f"validation image {index}, id {shown.image_id(index)}")
    for (network, attacked), seen in zip(PANELS, panels, strict=True):
        counts = ", ".join(f"{len(getattr(seen, kind))} {kind}" for kind in KINDS)
        print(f"{network}, {'attacked' if attacked else 'clean'}: {counts}")
    draw(panels, titles=shown.titles()).savefig(options.output, dpi=110)


class Shown:
    """Two networks and the validation images that both are shown.

    Args:
        folders: of the runs, by the keys of `NETWORKS`.
        confidence: boxes below are dropped.
        epsilon: of the attack, in 255ths; None: that of the second run.
    """

    def __init__(self, folders: dict[str, Path], *, confidence: float, epsilon: float | None) -> None:
        self.runs = {name: FinishedRun(folders[name]) for name in NETWORKS}
        for run in self.runs.values():
            run.data.prepare()
        dense, hardened = self.runs.values()
        if dense.data.fingerprints["val"] != hardened.data.fingerprints["val"]:
            raise InputError("expected two runs on the same validation images, got two that differ there")
        self.dataset = dense.data.dataset("val")
        self.count = len(self.dataset)
        self.nets = {name: make_dense(run.network(NETWORKS[name])).eval() for name, run in self.runs.items()}
        attack = dict(hardened.config["evaluation"]["attack"])
        self.attack = build.instantiate(
            attack if epsilon is None else attack | {"epsilon": epsilon / 255, "step_size": None}
        )
        self.confidence = confidence

    def with_objects(self, least: int) -> list[int]:
        """The images with so many objects or more."""
        places = [place for place in range(self.count) if len(self._batch([place])["targets"][0]["boxes"]) >= least]
        if not places:
            raise InputError(f"--objects: expected fewer, got {least}; no validation image has so many")
        return places

    def image_id(self, index: int) -> int:
        """The data set's own."""
        return int(self._batch([index])["targets"][0]["image_id"])

    def titles(self) -> list[str]:
        """Of the panels."""
        removed = self.runs["hardened"].record.sparsity["ratio_asked"]
        return [
            "trained as usual, clean image",
            "the same network, attacked",
            f"hardened, {100 * removed:g} % removed, attacked",
        ]

    def panels(self, indices: Sequence[int]) -> Iterator[tuple[Seen, ...]]:
        """What `PANELS` show of validation images."""
        for start in range(0, len(indices), AT_ONCE):
            batch = self._batch(indices[start : start + AT_ONCE])
            columns = [self._column(name, batch, attacked=attacked) for name, attacked in PANELS]
            yield from zip(*columns, strict=True)

    def _batch(self, indices: Sequence[int]) -> Batch:
        return collate([self.dataset[SampleKey(0, index)] for index in indices])

    def _column(self, name: str, batch: Batch, *, attacked: bool) -> list[Seen]:
        """A panel of every image of a batch."""
        net, images = self.nets[name], batch["images"]
        if attacked:
            with undisturbed(net):
                images = attacked_images(net, batch, self.attack, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found: list[Detections] = net.detections(net(images))  # type: ignore[operator]
        panels = []
        for image, target, each in zip(images, batch["targets"], found, strict=True):
            kept = Detections(*(part[each.confidences >= self.confidence] for part in each))
            boxes = by_kind(kept, target["boxes"], target["labels"])
            letterbox = target["letterbox"]
            shown = (letterbox.to_original(part) for part in boxes)
            panels.append(Seen(content_pixels(image, letterbox), *shown))
        return panels


def by_kind(found: Detections, objects: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes that find an object of their class, boxes that find none, and objects that nothing finds.

    The most certain box is asked first; an object is found once, by a box that overlaps it by `OVERLAP` or more.

    Args:
        found: the most certain first.
        objects: [N, 4] xyxy in the same pixels.
        labels: [N] of the objects.
    """
    overlaps = box_iou(found.boxes, objects) * (found.labels[:, None] == labels)  # [K, N]
    free = torch.ones(len(objects), dtype=torch.bool)
    right = torch.zeros(len(found.boxes), dtype=torch.bool)
    for place, row in enumerate(overlaps):
        candidates = row * free
        if len(objects) and candidates.max() >= OVERLAP:
            free[candidates.argmax()] = False
            right[place] = True
    return found.boxes[right], found.boxes[~right], objects[free]


def typical(scores: Sequence[Sequence[float]]) -> int:
    """The image whose scores are nearest to the mean over all images; `scores` [images, panels]."""
    table = torch.tensor(scores, dtype=torch.float64)
    return int((table - table.mean(0)).square().sum(1).argmin())


def draw(panels: Sequence[Seen], *, titles: Sequence[str]) -> Figure:
    """The panels side by side, with a legend below."""
    height, width = panels[0].pixels.shape[:2]
    figure = Figure(figsize=(12, 4 * height / width + 1.1), layout="constrained")
    for axes, seen, title in zip(figure.subplots(1, len(panels)), panels, titles, strict=True):
        _panel(axes, seen, title)
    names = {"right": "found", "wrong": "wrong box", "missed": "missed"}
    handles = [Line2D([], [], color=KINDS[kind][0], linestyle=KINDS[kind][1], linewidth=2) for kind in names]
    figure.legend(handles, list(names.values()), loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def _panel(axes: Axes, seen: Seen, title: str) -> None:
    axes.imshow(seen.pixels)
    for kind, (colour, line) in reversed(KINDS.items()):
        for x1, y1, x2, y2 in getattr(seen, kind).tolist():
            axes.add_patch(
                Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linestyle=line, linewidth=1.6)
            )
    objects = len(seen.right) + len(seen.missed)
    wrong = f"{len(seen.wrong)} wrong box{'' if len(seen.wrong) == 1 else 'es'}"
    axes.set_title(f"{title}\n{len(seen.right)} of {objects} objects found, {wrong}", fontsize=11)
    axes.set_axis_off()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="dense=folder hardened=folder")
    parser.add_argument("--image", type=int, help="place among the validation images")
    parser.add_argument("--objects", type=int, default=1, help="the typical image of those with so many or more")
    parser.add_argument("--epsilon", type=float, help="of the attack, in 255ths; without it that of the second run")
    parser.add_argument("--confidence", type=float, default=0.3)
    parser.add_argument("--output", type=Path, default=Path("docs/attack.jpg"))
    options = parser.parse_args()
    options.runs = {name: Path(folder) for name, _, folder in (word.partition("=") for word in options.runs)}
    if options.runs.keys() != NETWORKS.keys():
        sys.exit(f"expected {' and '.join(f'{name}=folder' for name in NETWORKS)}, got {' '.join(options.runs)}")
    return options


if __name__ == "__main__":
    main()
