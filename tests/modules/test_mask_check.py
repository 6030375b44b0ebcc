"""Layers whose weights a network reads without their forward are named, and everything else passes."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_det.modules.mask_check import check_masks
from hydra_det.modules.masked_conv import make_masked
from hydra_det.types import InputError
from tests.modules.example import assert_untouched, snapshot
from tests.modules.own import Nested, Small, Winding


class Attending(Small):
    """Looks at all places together, with torch's own layer, which has a fast path without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.middle(self.entry(images))
        tokens = self.look(maps.flatten(2).transpose(1, 2))
        return [self.head(tokens.transpose(1, 2).view_as(maps))]


class Reading(Small):
    """Hands the weight of a layer to a function."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Conv2d(8, 8, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = self.middle(self.entry(images))
        return [self.head(maps + F.conv2d(maps, self.side.weight))]


@pytest.mark.parametrize("kind", [Small, Winding, Nested])
def test_masks_that_count(kind):
    torch.manual_seed(0)
    net = make_masked(kind())
    before = snapshot(net)
    check_masks(net, image_size=64)
    assert_untouched(net, before)


@pytest.mark.parametrize(("kind", "layers"), [(Attending, "look.linear1,look.linear2"), (Reading, "side")])
def test_masks_that_do_not(kind, layers):
    torch.manual_seed(0)
    net: Any = make_masked(kind())
    with pytest.raises(InputError, match=f"{kind.__name__} computes otherwise with ") as refused:
        check_masks(net, image_size=64, exclude=["head"])
    said = str(refused.value)
    assert "prune.exclude=[head," in said, "what was dense stays so"
    assert all(layer in said for layer in layers.split(","))
    assert "entry" not in said
    check_masks(make_masked(kind(), exclude=said.split("prune.exclude=[")[1].rstrip("]").split(",")), image_size=64)
