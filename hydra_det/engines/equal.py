"""Whether an engine gives the raw maps of torch."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hydra_det.engines.registry import ENGINES
from hydra_det.modules.raw_maps import tensors_of
from hydra_det.types import InputError

log = logging.getLogger(__name__)

TINY = 1e-30  # as a largest value: zeros alone differ by nothing


def check_equal(engine: str, wanted: Any, found: Any) -> float:
    """The largest difference of raw maps, of any make, from those of torch, as a share of their largest value.

    Raises:
        InputError: it is above the tolerance of the engine.
    """
    worst = largest_difference(tensors_of(wanted), tensors_of(found))
    tolerance = ENGINES[engine].tolerance or math.inf
    if not worst <= tolerance or math.isinf(worst):
        raise InputError(
            f"engine {engine}: expected {engine} to give the raw maps of torch within {tolerance} of their largest "
            f"value, got a difference of {worst:.1e}; take another engine"
        )
    log.info("%s: raw maps differ by %.1e of their largest value", engine, worst)
    return worst


def largest_difference(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """As a share of the largest value of a raw map; infinite where something is not a number."""
    pairs = [(want, got) for want, got in zip(wanted, found, strict=True) if want.numel()]
    shares = [float((want - got).abs().max() / want.abs().max().clamp(min=TINY)) for want, got in pairs]
    return max((math.inf if math.isnan(share) else share for share in shares), default=0.0)
