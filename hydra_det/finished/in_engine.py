"""A network whose raw maps come from an engine: what is scored and what looks at pictures need not know."""

import contextlib
import logging
import tempfile
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.compaction.compact import compact
from hydra_det.compaction.files import Make, load_compact, save_compact
from hydra_det.engines.engine import Forward
from hydra_det.engines.equal import check_equal
from hydra_det.engines.registry import ENGINES, check_installed, in_engine, is_foreign
from hydra_det.modules.graph import GraphDetector
from hydra_det.process.apart import Apart, DiedError
from hydra_det.types import Detections, InputError, LossTerms, Target

log = logging.getLogger(__name__)

TORCH = "torch"
TRIED = 2  # images of noise that an engine is compared with torch on

_opened: dict[str, Forward] = {}  # the engines that are open in this process


class InEngine(nn.Module):
    """A detector whose raw maps come from an engine; there are no gradients in it.

    Args:
        network: the same one in torch, which knows what to do with raw maps.
        forward: of the engine.
    """

    def __init__(self, network: Any, forward: Forward) -> None:
        super().__init__()
        self.network = network
        self.engine = forward

    def forward(self, images: Tensor) -> Any:
        """[B, 3, H, W] -> raw maps as the network has them"""
        return self.engine(images)

    def losses(self, raw: Any, targets: Sequence[Target]) -> LossTerms:
        """Those of the torch network."""
        return self.network.losses(raw, targets)

    def detections(self, raw: Any) -> list[Detections]:
        """Those of the torch network."""
        return self.network.detections(raw)


class Opening:
    """The forward of a network in an engine, which is opened when it is first asked; it lives as long as this object.

    Before it is used its raw maps are compared with torch on random images. Engines of other runtimes live in a
    process of their own, so a script that asks for them needs `if __name__ == "__main__":`.

    Args:
        engine: a key of `ENGINES`.
        network: compact.
        image_size: side of the images, pixels.
        make: makes it, with any weights, where its class is none of hydra_det's.
    """

    def __init__(self, engine: str, network: Any, *, image_size: int, make: Make | None = None) -> None:
        self.engine = engine
        self.network = network
        self.image_size = image_size
        self.make = make
        self._forward: Forward | None = None

    def __call__(self, images: Tensor) -> Any:
        """[B, 3, S, S] -> raw maps as the network has them

        Raises:
            InputError: the engine answers something else than torch, lacks an operation, or crashes.
        """
        try:
            if self._forward is None:
                self._forward = self._opened()
            return self._forward(images)
        except DiedError as error:
            raise InputError(f"engine {self.engine}: expected it to live, it {error}; take another engine") from error

    @property
    def is_open(self) -> bool:
        """Whether it was asked."""
        return self._forward is not None

    def _opened(self) -> Forward:
        with contextlib.ExitStack() as opened:
            forward = self._checked(opened)
            weakref.finalize(self, opened.pop_all().close)
        return forward

    def _checked(self, opened: contextlib.ExitStack) -> Forward:
        """What it opens is closed with the stack."""
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        sample = torch.rand(TRIED, 3, self.image_size, self.image_size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            wanted = self.network(sample)
        threads = torch.get_num_threads()
        if is_foreign(self.engine):
            call: Any = opened.enter_context(Apart()).call
            save_compact(folder, self.network, {})
            call(open_here, self.engine, folder, sample, threads, self.make)
            forward: Forward = partial(call, run_here, self.engine)
        else:
            forward, _ = in_engine(self.engine, self.network, folder, sample, threads=threads)
        check_equal(self.engine, wanted, forward(sample))
        return forward


def in_another_engine(engine: str, network: nn.Module, *, image_size: int, make: Make | None = None) -> InEngine:
    """A network made compact and put into an engine, which is opened when it is first asked.

    Args:
        engine: checked by `check_engine`.
        network: dense, masked or compact; is not changed.
        image_size: side of the images, pixels.
        make: makes it, with any weights, where its class is none of hydra_det's.
    """
    small = network if isinstance(network, GraphDetector) else compact(network).network
    return InEngine(small, Opening(engine, small, image_size=image_size, make=make))


def check_engine(name: str) -> None:
    """Refuse what cannot compute here, and engines that need images to be calibrated with.

    Raises:
        InputError: which one, and what to do.
    """
    check_installed([name], ask=in_a_process, setting="engine", otherwise="take engine=torch")
    if ENGINES[name].calibrated:
        others = ", ".join(other for other, engine in ENGINES.items() if not engine.calibrated)
        raise InputError(
            f"engine: expected one of {others}, got {name}, which takes its ranges from training images; compact.py "
            f"engines=[{name}] makes, scores and times it"
        )


def in_a_process(able: Callable[[], bool]) -> bool:
    """What a function says that may load another runtime, which this process is kept free of."""
    with Apart() as apart:
        return apart.call(able)


def open_here(engine: str, folder: Path, sample: Tensor, threads: int, make: Make | None = None) -> Path | None:
    """Export the network of a folder and keep it open in this process; returns the file."""
    torch.set_num_threads(threads)
    network, _ = load_compact(folder, make=make)
    _opened[engine], file = in_engine(engine, network, folder, sample, threads=threads)
    return file


def run_here(engine: str, images: Tensor) -> Any:
    """Raw maps of the network that was opened last in an engine of this process."""
    return _opened[engine](images)
