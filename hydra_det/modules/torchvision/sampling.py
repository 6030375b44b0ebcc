"""Which anchors and proposals of an image its losses look at: torchvision's balanced draw, by seeds of our own."""

import zlib

import torch
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler


class Sampler(BalancedPositiveNegativeSampler):
    """Draws by a seed, on the CPU, so that every device draws alike and nobody else's draws change.

    In an image without objects nothing is drawn, or its losses would know the same few places for ever.

    Args:
        batch_size_per_image: how many of an image.
        positive_fraction: of them, at most, those that are assigned to objects.
        without_objects: how many of an image without objects, the first ones; None: all.

    Attributes:
        seed: of the next draw.
    """

    def __init__(
        self, batch_size_per_image: int, positive_fraction: float, *, without_objects: int | None = None
    ) -> None:
        super().__init__(batch_size_per_image, positive_fraction)
        self.without_objects = without_objects
        self.seed = 0

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Labels [N] of each image, from 1 for objects, 0 for background, below 0 for neither -> masks [N] of both."""
        pairs = [self._of_image(labels) for labels in matched_idxs]
        return [positive for positive, _ in pairs], [negative for _, negative in pairs]

    def _of_image(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = labels >= 1, labels == 0
        if not positive.any():
            return positive, negative & (negative.cumsum(0) <= (self.without_objects or len(labels)))
        order = torch.rand(len(labels), generator=torch.Generator().manual_seed(self.seed)).to(labels.device)
        positive = _first(positive, order, int(self.batch_size_per_image * self.positive_fraction))
        return positive, _first(negative, order, self.batch_size_per_image - int(positive.sum()))


def seed_of(boxes: Tensor) -> int:
    """A number that follows from the objects of an image. [N, 4] -> at least 0"""
    return zlib.crc32(boxes.detach().cpu().float().numpy().tobytes())


def _first(mask: Tensor, order: Tensor, count: int) -> Tensor:
    """The first entries of a mask, by a number for each. [N], [N] -> [N]"""
    places = mask.nonzero()[:, 0]
    chosen = torch.zeros_like(mask)
    chosen[places[order[places].argsort()[:count]]] = True
    return chosen
