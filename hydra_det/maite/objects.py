"""What is in an image, as MAITE hands it about, and where the image lies in a network input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from maite.protocols import ArrayLike, DatumMetadata
from numpy.typing import NDArray
from torch import Tensor

from hydra_det.boxes import Letterbox

KEY = "letterbox"  # in the metadata of an image


@dataclass(frozen=True)
class Objects:
    """MAITE's ObjectDetectionTarget: objects that are in an image, or that were found there."""

    boxes: NDArray[np.float64]  # [N, 4] xyxy in pixels of the image that they come with
    labels: NDArray[np.int64]  # [N]
    scores: NDArray[np.float32]  # [N] confidences in [0, 1]; 1 in the ground truth


@dataclass(frozen=True)
class Truth(Objects):
    """The ground truth of an image of ours, with what else COCO's AP asks for."""

    areas: NDArray[np.float64]  # [N] as the data set says them, in pixels of the original image
    crowds: Objects  # regions in which nothing counts as wrong


class ImageMetadata(DatumMetadata, total=False):
    """What we say of an image besides its `id`."""

    letterbox: Letterbox  # how the original was placed in it; missing where it is the original


def letterbox_of(metadata: Mapping[str, Any]) -> Letterbox | None:
    """How an original was placed in an image, where its metadata say so."""
    return Letterbox(*metadata[KEY]) if KEY in metadata else None


def as_array(value: ArrayLike) -> NDArray[Any]:
    """Whatever MAITE takes for an array, tensors on a device among it."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def as_boxes(value: ArrayLike) -> Tensor:
    """Boxes [N, 4] float64; none may come in any shape."""
    return torch.tensor(as_array(value), dtype=torch.float64).reshape(-1, 4)


def as_labels(value: ArrayLike) -> Tensor:
    """Labels [N] int64"""
    return torch.tensor(as_array(value), dtype=torch.int64).reshape(-1)
