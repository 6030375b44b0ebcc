"""What an engine is: how a network gets into a runtime, and a forward that takes and gives torch tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

Forward = Callable[[Tensor], Any]  # images [B, 3, H, W] -> raw maps as the network has them

FLOAT_TOLERANCE = 1e-3  # float32 sums in another order; ten times what was seen


class Engine(NamedTuple):
    """How a network gets into a runtime.

    Attributes:
        packages: that must be installed.
        write: (network, folder, example images [B, 3, H, W]) -> the file; what lies in the folder already is used,
            unless opening it could run code.
        open: (network, file, threads) -> forward.
        able: whether this machine can compute so; None: every one can.
        tolerance: of the raw maps to those of torch, as a share of their largest value; None: rounding is wanted.
        extra: of hydra-det, which brings the packages.
        needs: in words, what `able` looks for.
        calibrated: whether it takes its ranges from the example images, which must then be those of a data set.
    """

    packages: tuple[str, ...]
    write: Callable[[nn.Module, Path, Tensor], Path | None]
    open: Callable[[nn.Module, Path | None, int], Forward]
    able: Callable[[], bool] | None = None
    tolerance: float | None = FLOAT_TOLERANCE
    extra: str = "export"
    needs: str = ""
    calibrated: bool = False
