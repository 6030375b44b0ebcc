"""A network as a MAITE model for object detection."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from maite.protocols import ArrayLike, ModelMetadata

from hydra_det.finished.predict import Predictor
from hydra_det.finished.run import FinishedRun, load_run
from hydra_det.maite.inputs import place
from hydra_det.maite.objects import Objects


class MaiteModel:
    """Boxes in images of any size, each in pixels of the image as it came in.

    Images are arrays [3, H, W] of RGB, the channels first: whole numbers in [0, 255], or floats in [0, 1]. They are
    letterboxed as our own data are, so their sizes may differ within a batch. Floats of exactly the size of the network
    input are not touched: they are what `MaiteDataset` and `MaiteAugmentation` make.

    Args:
        predictor: with a `confidence` of 0 where AP is counted, which needs the unlikely boxes too.
        name: what tools call it.

    Attributes:
        metadata: its name, and the names of classes by label.
    """

    metadata: ModelMetadata

    def __init__(self, predictor: Predictor, *, name: str = "hydra_det") -> None:
        self.predictor = predictor
        self.metadata = ModelMetadata(id=name, index2label=dict(enumerate(predictor.class_names)))

    @classmethod
    def from_run(
        cls, run: FinishedRun | str | Path, network: str = "pruned", *, confidence: float = 0.0, **options: Any
    ) -> "MaiteModel":
        """A model with a network of a finished run.

        Args:
            run: from `load_run`, or its folder.
            network: `dense`, `pruned`, or `compact`.
            confidence: boxes below are dropped; all that the network answers are needed for AP.
            **options: the others of `Predictor`, such as `device` or `engine`.
        """
        if isinstance(run, str | Path):
            run = load_run(run)
        predictor = Predictor.from_run(run, network, confidence=confidence, **options)
        return cls(predictor, name=f"{run.folder.name}/{network}")

    def __call__(self, batch_input: Sequence[ArrayLike], /) -> list[Objects]:
        """What is found in each of B images, the most certain first.

        Args:
            batch_input: B arrays [3, H, W], each of its own size.

        Raises:
            InputError: an image of another shape, or with other values.
        """
        size, greyscale = self.predictor.image_size, self.predictor.greyscale
        placed = [place(image, size, greyscale=greyscale) for image in batch_input]
        if not placed:
            return []
        answers = self.predictor.detect(torch.stack([one.pixels for one in placed]).to(self.predictor.device))
        return [
            Objects(
                boxes=one.letterbox.to_original(found.boxes.double()).numpy(),
                labels=found.labels.numpy(),
                scores=found.confidences.numpy(),
            )
            for one, found in zip(placed, answers, strict=True)
        ]
