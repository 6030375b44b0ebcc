"""An attack on a network as a MAITE augmentation for object detection."""

from collections.abc import Sequence
from typing import Any

import torch
from maite.protocols import ArrayLike, AugmentationMetadata, DatumMetadata
from maite.protocols.object_detection import ObjectDetectionTarget
from numpy.typing import NDArray

from hydra_det.attacks.base import Attack
from hydra_det.callbacks.hardening.attacked_images import attack as attacked
from hydra_det.maite.inputs import Placed, place
from hydra_det.maite.model import MaiteModel
from hydra_det.maite.objects import as_boxes, as_labels, letterbox_of

Targets = Sequence[ObjectDetectionTarget]
Metadata = Sequence[DatumMetadata]


class MaiteAugmentation:
    """Images after an attack on a network of ours, of the size and the type that they came in.

    The network is attacked with its own gradients; for another model it is a transfer attack. Targets have their boxes
    in pixels of the images and labels of the network's classes; they come back as they are, and so do metadata.

    A letterboxed image of `MaiteDataset` becomes what `hydra_det.evaluate` shows to the network, bit by bit where the
    attack draws nothing and each image is attacked for itself; its padding stays. An image of another size is attacked
    as the network sees it, and the change is scaled and added. An L-infinity ball holds for it too, but the network
    scales the image again and so sees a smoother change.

    Args:
        model: whose network is attacked, in torch also where another engine finds its boxes.
        attack: such as `PGD(epsilon=8 / 255, step_size=2 / 255, steps=20)`.
        seed: of attacks that draw; they draw the same for every batch.
    """

    metadata: AugmentationMetadata

    def __init__(self, model: MaiteModel, attack: Attack, *, seed: int = 0) -> None:
        self.predictor = model.predictor
        self.attack = attack
        self.seed = seed
        self.metadata = AugmentationMetadata(id=f"{type(attack).__name__} on {model.metadata['id']}")

    def __call__(
        self, batch: tuple[Sequence[ArrayLike], Targets, Metadata], /
    ) -> tuple[list[NDArray[Any]], Targets, Metadata]:
        """Attack the images of a batch.

        Args:
            batch: images as `MaiteModel` takes them, what is in them, and their metadata.

        Raises:
            InputError: an image of another shape or with other values, or a label that is none of the network's.
        """
        images, targets, metadata = batch
        size, greyscale = self.predictor.image_size, self.predictor.greyscale
        placed = [place(image, size, greyscale=greyscale) for image in images]
        if not placed:
            return [], targets, metadata
        goals = [_goal(*row) for row in zip(placed, targets, metadata, strict=True)]
        pixels = torch.stack([one.pixels for one in placed])
        moved = attacked(self.predictor.net, pixels, goals, self.attack, seed=self.seed).cpu()
        changed = [one.moved(image, self.attack.epsilon) for one, image in zip(placed, moved, strict=True)]
        return changed, targets, metadata


def _goal(placed: Placed, target: ObjectDetectionTarget, metadata: DatumMetadata) -> dict[str, Any]:
    """What an attack takes for true: boxes in pixels of the network input, and which part of that is no padding."""
    said, size = letterbox_of(metadata), placed.letterbox.size
    is_input = said is not None and placed.image.shape[1:] == (size, size) and said.size == size
    return {
        "boxes": placed.letterbox.to_input(as_boxes(target.boxes)),
        "labels": as_labels(target.labels),
        "letterbox": said if is_input else placed.letterbox,
    }
