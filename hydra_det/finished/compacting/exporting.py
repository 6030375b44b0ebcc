"""The compact network in an engine: its file, its raw maps beside those of torch, and itself as a detector."""

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.compaction.files import load_compact
from hydra_det.engines.engine import Forward
from hydra_det.engines.registry import ENGINES, in_engine
from hydra_det.modules.graph import GraphDetector
from hydra_det.process.apart import Apart
from hydra_det.records.record import EngineResult
from hydra_det.types import Detections, InputError, LossTerms, Target

log = logging.getLogger(__name__)

COMPARED = 8  # images
TINY = 1e-30  # as a largest value: zeros alone differ by nothing

_opened: dict[str, Forward] = {}  # the engines that are open in this process


def export(
    engine: str,
    folder: Path,
    *,
    sample: Tensor,
    wanted: Sequence[Tensor],
    threads: int,
    apart: Apart | None = None,
) -> tuple[Forward, EngineResult]:
    """A network in an engine: written, opened, and its raw maps compared with torch.

    Args:
        engine: a key of `ENGINES`.
        folder: of the compact network; the file is written into it.
        sample: [N, 3, S, S], images to calibrate with.
        wanted: raw maps of torch on the first `COMPARED` of them.
        threads: of the CPU.
        apart: the process that the engine lives in; None: this one.

    Raises:
        InputError: the engine answers something else.
        DiedError: the process of the engine is gone.
    """
    call: Any = apart.call if apart else _here
    file = call(_open, engine, folder, sample, threads)
    forward = partial(call, _run, engine)
    worst = largest_difference(wanted, forward(sample[:COMPARED]))
    tolerance = ENGINES[engine].tolerance or math.inf
    if not worst <= tolerance or math.isinf(worst):
        raise InputError(
            f"engines: expected {engine} to give the raw maps of torch within {tolerance} of their largest "
            f"value, got a difference of {worst:.1e}; leave it out of engines="
        )
    log.info("%s: raw maps differ by %.1e of their largest value", engine, worst)
    size = None if file is None else sum(part.stat().st_size for part in _parts_of(file))
    return forward, EngineResult(engine=engine, file_bytes=size, difference=worst, metrics=None)


def _here(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _open(engine: str, folder: Path, sample: Tensor, threads: int) -> Path | None:
    """Export the network of a folder and keep it open in this process; returns the file."""
    torch.set_num_threads(threads)
    network, _ = load_compact(folder)
    _opened[engine], file = in_engine(engine, network, folder, sample, threads=threads)
    return file


def _run(engine: str, images: Tensor) -> list[Tensor]:
    return _opened[engine](images)


class InEngine(nn.Module):
    """A detector whose raw maps come from an engine; there are no gradients in it.

    Args:
        network: the same one in torch, which knows what to do with raw maps.
        forward: of the engine.
    """

    def __init__(self, network: GraphDetector, forward: Forward) -> None:
        super().__init__()
        self.network = network
        self.engine = forward

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> raw maps"""
        return self.engine(images)

    def losses(self, raw: Sequence[Tensor], targets: Sequence[Target]) -> LossTerms:
        """Those of the torch network."""
        return self.network.losses(raw, targets)

    def detections(self, raw: Sequence[Tensor]) -> list[Detections]:
        """Those of the torch network."""
        return self.network.detections(raw)


def largest_difference(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """As a share of the largest value of a raw map; infinite where something is not a number."""
    pairs = [(want, got) for want, got in zip(wanted, found, strict=True) if want.numel()]
    shares = [float((want - got).abs().max() / want.abs().max().clamp(min=TINY)) for want, got in pairs]
    return max((math.inf if math.isnan(share) else share for share in shares), default=0.0)


def _parts_of(file: Path) -> list[Path]:
    """OpenVINO keeps the weights in a file of their own."""
    return [file, file.with_suffix(".bin")] if file.suffix == ".xml" else [file]
