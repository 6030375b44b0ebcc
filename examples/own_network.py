"""A detector of your own for `model=own`: a ResNet of torchvision under the head of CenterNet.

Zhou et al. 2019, arXiv 1904.07850: an object is a peak in the heatmap of its class. Beside the peak stand the size of
its box and the place of its centre in its cell. docs/your_own_network.md goes through this file.

PYTHONPATH=examples python train.py model=own model._target_=own_network.MyDetector
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.feature_extraction import create_feature_extractor

from hydra_det import Candidates, Detections, LossTerms, Target

LEVELS = {"layer1": 64, "layer2": 128, "layer3": 256}  # maps at strides 4, 8, 16 and their channels; layer4: 32, 512
STRIDE = 4  # pixels a cell
PRIOR = 0.01  # confidence before training: nearly all cells hold no object (Lin et al. 2017, arXiv 1708.02002)
OVERLAP = 0.7  # that a box shifted by the radius of its peak still has with the object
MOST, LEAST = 100, 0.001  # detections of an image, and their confidence, as COCO's AP asks for them


class MyDetector(nn.Module):
    """CenterNet on the features of a ResNet-18. `width` channels carry them to the heads: `+model.width=32`."""

    def __init__(self, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.colours = nn.BatchNorm2d(3)  # images come in [0, 1]; to normalise them is the network's part
        self.backbone = create_feature_extractor(resnet18(weights=None), list(LEVELS))
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in LEVELS.values())
        self.enlarge = nn.Upsample(scale_factor=2)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, outputs, 1),
            )
            for outputs in (num_classes, 2, 2)
        )
        with torch.no_grad():
            self.heads[0][-1].bias.fill_(math.log(PRIOR / (1 - PRIOR)))  # type: ignore[index]

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> logits of heatmaps [B, C, H/4, W/4]; sizes and offsets [B, 2, H/4, W/4], both in cells"""
        levels = list(self.backbone(self.colours(images)).values())
        features = self.laterals[-1](levels[-1])
        for lateral, level in zip(self.laterals[-2::-1], levels[-2::-1], strict=True):
            features = self.enlarge(features) + lateral(level)
        return [head(features) for head in self.heads]

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Each image by its own objects: focal loss of heatmaps, L1 of sizes and offsets. -> [B] each"""
        images = [self._losses(*image) for image in zip(*raw, targets, strict=True)]
        classification, size, offset = torch.stack(images).unbind(1)
        return LossTerms(classification=classification, box=0.1 * size, offset=offset)

    def _losses(self, heat: Tensor, size: Tensor, offset: Tensor, target: Target) -> Tensor:
        """Of one image: [C, H, W], [2, H, W], [2, H, W] -> the three terms [3]"""
        boxes, objects = target["boxes"] / STRIDE, max(1, len(target["labels"]))
        centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]  # [N, 2] in cells
        height, width = heat.shape[1:]
        cells = centres.floor().clamp(min=0).minimum(centres.new_tensor([width - 1, height - 1]))
        columns, rows = cells.long().unbind(1)
        wanted = heatmap(cells, sizes, target["labels"], like=heat)
        heat, found = heat.float(), heat.float().sigmoid()
        hit = (1 - found) ** 2 * F.logsigmoid(heat)
        missed = (1 - wanted) ** 4 * found**2 * F.logsigmoid(-heat)
        away = (size[:, rows, columns].T - sizes).abs(), (offset[:, rows, columns].T - (centres - cells)).abs()
        return torch.stack([-torch.where(wanted == 1, hit, missed).sum(), away[0].sum(), away[1].sum()]) / objects

    def decode(self, raw: Sequence[Tensor]) -> Candidates:
        """A box for every cell. Only a local maximum of a heatmap keeps its confidence."""
        heat, size, offset = (maps.float() for maps in raw)
        confidences = heat.sigmoid() * (heat == F.max_pool2d(heat, 3, stride=1, padding=1))
        rows, columns = (torch.arange(side, device=heat.device) for side in heat.shape[2:])
        centres = offset + torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # [B, 2, H/4, W/4]
        half = size.clamp(min=0) / 2
        boxes = STRIDE * torch.cat([centres - half, centres + half], dim=1)
        return Candidates(boxes.flatten(2).transpose(1, 2), confidences.flatten(2).transpose(1, 2))

    def suppress(
        self, candidates: Candidates, image_size: tuple[int, int], *, confidence: float | None = None
    ) -> list[Detections]:
        """The most certain of every image, from a confidence on, clipped to (height, width)."""
        answers, limit = [], candidates.boxes.new_tensor([*image_size[::-1], *image_size[::-1]])
        for boxes, confidences in zip(*candidates, strict=True):
            certain, pairs = confidences.flatten().topk(min(MOST, confidences.numel()))
            pairs = pairs[certain >= (LEAST if confidence is None else confidence)]
            places, labels = pairs // self.num_classes, pairs % self.num_classes
            answers.append(Detections(boxes[places].clamp(min=0).minimum(limit), certain[: len(pairs)], labels))
        return answers

    def count_candidates(self, candidates: Candidates, *, confidence: float | None = None) -> int:
        """Number of (box, class) pairs of a batch that `suppress` sorts."""
        return int((candidates.confidences >= (LEAST if confidence is None else confidence)).sum())

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """Boxes in pixels of the images, the most certain first."""
        height, width = (STRIDE * side for side in raw[0].shape[2:])
        return self.suppress(self.decode(raw), (height, width))


def heatmap(cells: Tensor, sizes: Tensor, labels: Tensor, *, like: Tensor) -> Tensor:
    """1 in the cell of every object, less around it. [N, 2] x and y, [N, 2] in cells, [N] -> as `like` [C, H, W]

    A Gaussian as wide as its box allows: three standard deviations reach to where a box of that size, shifted so far
    both ways, has `OVERLAP` with the object (after Law and Deng 2018, arXiv 1808.01244).
    """
    around = sizes.sum(1)
    radius = (around - (around**2 - 4 * (1 - OVERLAP) / (1 + OVERLAP) * sizes.prod(1)).sqrt()) / 2
    deviation = (2 * radius + 1) / 6
    rows, columns = (torch.arange(side, device=like.device) for side in like.shape[1:])
    across, down = (columns - cells[:, :1])[:, None], (rows - cells[:, 1:])[:, :, None]  # [N, 1, W], [N, H, 1]
    peaks = torch.exp(-(across**2 + down**2) / (2 * deviation[:, None, None] ** 2))  # [N, H, W]
    empty = torch.zeros_like(like, dtype=peaks.dtype)
    return empty.scatter_reduce(0, labels[:, None, None].expand_as(peaks), peaks, "amax")
