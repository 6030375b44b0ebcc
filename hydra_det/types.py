"""The shared vocabulary: what one part hands to the next.

Images are RGB float32 in [0, 1]. Boxes are `xyxy` in pixels of the network input unless a name says otherwise.
"""

import functools
import operator
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.boxes import Letterbox
from hydra_det.errors import InputError, NotFiniteError, as_distance, as_fraction  # noqa: F401 - found here

Pixels = NDArray[np.uint8]  # [H, W, 3] RGB, a decoded picture


class RatioError(InputError):
    """A pruning ratio that leaves no network; a smaller one may."""


class Target(TypedDict):
    """The ground truth of one image."""

    boxes: Tensor  # [N, 4] float32, xyxy in pixels of the network input; crowd regions are not among them
    labels: Tensor  # [N] int64 in [0, num_classes)
    image_id: int  # the data set's own id
    letterbox: Letterbox  # how the original image was placed in the network input


class Batch(TypedDict):
    """What a data loader yields."""

    images: Tensor  # [B, 3, H, W] float32 in [0, 1]
    targets: list[Target]  # B of them


class Candidates(NamedTuple):
    """Every box a network can answer with, before suppression."""

    boxes: Tensor  # [B, N, 4] float32, xyxy in pixels of the network input
    confidences: Tensor  # [B, N, C] float32, objectness times class probability


class Detections(NamedTuple):
    """What a detector finds in one image, the most certain first."""

    boxes: Tensor  # [K, 4] float32, xyxy in pixels of the network input, clipped to it
    confidences: Tensor  # [K] float32 in [0, 1]
    labels: Tensor  # [K] int64 in [0, num_classes)


class LossTerms(dict[str, Tensor]):
    """The parts of a detection loss by name, each with one value per image [B], so that an attack can treat them apart.

    What networks have in common is called alike: `box`, `classification`, `objectness`. Others, such as `centerness`,
    are a network's own.

    Example:
        >>> import torch
        >>> LossTerms(box=torch.tensor([1.0]), classification=torch.tensor([2.0])).total
        tensor([3.])
    """

    @property
    def total(self) -> Tensor:
        """Sum of the terms. [B]"""
        return functools.reduce(operator.add, self.values())
