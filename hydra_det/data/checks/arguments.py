"""The arguments of a data module, looked at before anything is read."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from hydra_det.types import InputError

STRIDE = 32  # of the coarsest map of the detectors: the input must divide into its cells

_LIMITS: dict[str, tuple[float, float]] = {
    "batch_size": (1, math.inf),
    "evaluation_batch_size": (1, math.inf),
    "workers": (0, math.inf),
    "seed": (0, math.inf),
    "subset_seed": (0, math.inf),
    "train_images": (1, math.inf),
    "val_images": (0, math.inf),
    "test_images": (1, math.inf),
    "flip": (0, 1),
    "colour_jitter": (0, 0.9),
    "crop_jitter": (0, 0.9),
    "mosaic": (0, 1),
    "multi_scale": (0, 0.9),
    "split": (0.01, 0.45),
}


def check_arguments(given: Mapping[str, Any], *, sizes: Callable[[], list[int]]) -> None:
    """Refuse a value out of its range.

    Args:
        given: the arguments by name.
        sizes: the sides that a training batch can have; asked when the side of the input is known to be right.
    """
    size, scale = given["image_size"], given["multi_scale"]
    if size < STRIDE or size % STRIDE:
        near = max(STRIDE, round(size / STRIDE) * STRIDE)
        raise InputError(f"data.image_size: expected a multiple of {STRIDE}, got {size}; use {near}")
    if scale and len(sizes()) == 1:
        enough = math.ceil(1000 * STRIDE / size) / 1000
        raise InputError(
            f"data.multi_scale: expected at least {enough}, so that there are sizes beside {size} in steps of "
            f"{STRIDE}, got {scale}; use more, or 0"
        )
    for argument, (least, most) in _LIMITS.items():
        value = given[argument]
        bounds = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        if value is not None and not least <= value <= most:
            raise InputError(f"data.{argument}: expected a value {bounds}, got {value}; change it")
