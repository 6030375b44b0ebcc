"""Stops a stage the moment its numbers go wrong, and says which and where."""

import math
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from hydra_det.callbacks.watching.whereabouts import ids_of, listed, place
from hydra_det.init.base import score_bound
from hydra_det.modules.masked_conv import MaskedLayer, masked_layers
from hydra_det.types import Batch, InputError

# A step that a gradient scaler skips halves its scale, which begins at 2**16. After 30 halvings it is 2**-14, the
# smallest normal number of float16: gradients that still overflow have no scale, and a smaller one rounds them to 0.
MOST_SKIPPED, LEAST_SCALE = 30, 2.0**-14
# Adam moves a score by about the learning rate, so from sqrt(6 / 9216), the widest layer of YOLOv3, this takes 260,000
# steps in one direction at a rate of 1e-3. No schedule of ours has them.
SCORE_LIMIT = 1e4
# Steps between two looks at the scores. They cannot hurt a step by their size: only their order counts.
SCORES_EVERY = 10


class _Seen(NamedTuple):
    """A batch of the step under way; tensors stay on their device."""

    ids: list[int]
    images: Tensor  # [B] sums, finite where the image is
    terms: dict[str, Tensor]  # scalars


class _Root(IntEnum):
    """What can be wrong. Each may bring about all that follow it, so the first one found in any process is said."""

    STATE, IMAGES, TERMS, SCORES, SCALE, GRADIENTS, NORM = range(7)


class _Cause(NamedTuple):
    """What is wrong, and what to do; of several the smallest is the root."""

    root: _Root
    what: str
    advice: str


class NumbersWatch(pl.Callback):
    """Refuses a loss, a gradient, a parameter, an image that is not finite, and scores that explode.

    It looks between the backward pass and the optimiser's step, when weights and averages are still whole, and once
    for all processes, so that all stop with the same words. What it looks at are sums that NaN and infinity spread to;
    reading their verdict is its only wait for the device in a step. A parameter that a step breaks is found in the next
    one, and before any checkpoint is written. Under 16-mixed, gradients that are not finite are the way the scaler
    finds its scale: it may skip up to `MOST_SKIPPED` steps in a row, and not fall below `LEAST_SCALE`.

    Args:
        name: of the stage.
        score_limit: |score| of a layer may grow to this many times the largest one it began with, or sqrt(6 / fan_in)
            where that is more.

    Raises:
        InputError: from the hooks; with stage, epoch, step, images, the part that is wrong and what to try.
    """

    def __init__(self, *, name: str, score_limit: float = SCORE_LIMIT) -> None:
        if not score_limit > 1:
            raise InputError(f"score_limit: expected a number above 1, got {score_limit}")
        self.name = name
        self.score_limit = score_limit
        self._bounds: dict[str, float] = {}  # of |score|, by layer
        self._seen: list[_Seen] = []
        self._skipped = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen, self._skipped = [], 0
        for name, layer in _learning_scores(pl_module):
            start = max(float(layer.scores.detach().abs().max()), score_bound(layer))
            self._bounds.setdefault(name, self.score_limit * start)  # a stage that goes on keeps those it began with

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._batch = batch  # the attack of the batch was there before

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        images = self._batch["images"].detach().flatten(1).sum(1)  # [B]
        self._seen.append(_Seen(ids_of(self._batch), images, dict(pl_module.terms)))  # type: ignore[arg-type]

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        seen, self._seen = self._seen, []
        gradient = get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None])
        step = torch.stack([term.float() for part in seen for term in (part.images.sum(), *part.terms.values())]).sum()
        scores = self._far_scores(pl_module) if trainer.global_step % SCORES_EVERY == 0 else torch.zeros_like(step)
        flags = torch.stack([~step.isfinite() | (scores > 0), ~gradient.isfinite()]).float()
        wrong, no_gradient = trainer.strategy.reduce(flags, reduce_op="sum").tolist()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if no_gradient and not wrong and scaler is not None:
            self._skipped += 1
            if self._skipped < MOST_SKIPPED and scaler.get_scale() >= LEAST_SCALE:
                return
        elif not wrong and not no_gradient:
            self._skipped = 0
            return
        self._stop(trainer, pl_module, seen)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._check_state(trainer, pl_module)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_state(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """How large scores may become."""
        return {"bounds": self._bounds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._bounds = dict(state_dict["bounds"])

    def _far_scores(self, pl_module: pl.LightningModule) -> Tensor:
        """How many layers have a score beyond their bound, or one that is not a number."""
        far = [
            ~(torch.stack(layer.scores.detach().aminmax()).abs().max() <= self._bound(name))
            for name, layer in _learning_scores(pl_module)
        ]
        return torch.stack(far).sum() if far else torch.zeros((), device=pl_module.device)

    def _check_state(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if _broken(pl_module, buffers=True) or self._far_scores(pl_module):
            self._stop(trainer, pl_module, [], alone=True)

    def _stop(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, seen: list[_Seen], *, alone: bool = False
    ) -> None:
        cause = next(self._causes(trainer, pl_module, seen))
        found: list[Any] = [cause]
        if not alone and dist.is_available() and dist.is_initialized():
            found = [None] * dist.get_world_size()
            dist.all_gather_object(found, cause)
        root = min(found)
        raise InputError(
            f"{place(trainer, self.name)}: expected finite numbers, got {root.what}; {root.advice}; what is changed "
            "makes another stage, which begins anew"
        )

    def _causes(self, trainer: pl.Trainer, pl_module: pl.LightningModule, seen: list[_Seen]) -> Iterator[_Cause]:
        """What is wrong in this process, the root of it first."""
        stage = f"stage.{self.name}"
        rate = f" ({trainer.optimizers[0].param_groups[0]['lr']:.3g} in this step)" if trainer.optimizers else ""
        calmer = f"lower {stage}.optimizer.lr{rate} or trainer.gradient_clip_val, raise {stage}.warmup_steps"
        if trainer.precision != "32-true":
            calmer += ", take trainer.precision=32-true"
        calmer += ", or look at these images with doctor.py"
        # One bad batch breaks the statistics of BatchNorm as well, before anything else is seen.
        if broken := _broken(pl_module, buffers=not seen):
            yield _Cause(_Root.STATE, f"{broken} not finite after an earlier step", calmer)
        yield from _bad_images(seen)
        yield from _bad_terms(seen, calmer)
        yield from self._exploded_scores(pl_module, f"lower {stage}.optimizer.lr{rate}")
        if self._skipped:
            what = f"gradients that overflow in float16 whatever their scale, {self._skipped} steps in a row"
            yield _Cause(_Root.SCALE, what, "take trainer.precision=bf16-mixed or 32-true")
        yield from _bad_gradients(pl_module, seen, calmer)

    def _exploded_scores(self, pl_module: pl.LightningModule, advice: str) -> Iterator[_Cause]:
        for name, layer in _learning_scores(pl_module):
            bound = self._bound(name)
            if not (largest := float(layer.scores.detach().abs().max())) <= bound:
                what = f"a score of {largest:.3g} in {name} where {bound:.3g} is the most that is allowed"
                yield _Cause(_Root.SCORES, what, advice)

    def _bound(self, name: str) -> float:
        """Of |score| in a layer; none where the layer began to learn after the fit did."""
        return self._bounds.get(name, math.inf)


def _bad_images(seen: list[_Seen]) -> Iterator[_Cause]:
    for part in seen:
        if bad := [i for i, total in zip(part.ids, part.images.tolist(), strict=True) if not math.isfinite(total)]:
            advice = "look at them with doctor.py, and at attack= if attacked"
            yield _Cause(_Root.IMAGES, f"images {listed(bad)} not finite", advice)


def _bad_terms(seen: list[_Seen], advice: str) -> Iterator[_Cause]:
    for part in seen:
        for name, value in part.terms.items():
            if not value.isfinite():
                what = f"a loss term {name} of {float(value)} on images {listed(part.ids)}"
                yield _Cause(_Root.TERMS, what, advice)


def _bad_gradients(pl_module: pl.LightningModule, seen: list[_Seen], advice: str) -> Iterator[_Cause]:
    """At least one: where all values are finite, their norm is not."""
    images = f" on images {listed([image for part in seen for image in part.ids])}" if seen else ""
    for name, parameter in pl_module.get_submodule("net").named_parameters():
        if parameter.grad is not None and (count := _not_finite(parameter.grad)):
            what = f"{count} of {parameter.numel()} values not finite in the gradient of {name}{images}"
            yield _Cause(_Root.GRADIENTS, what, advice)
    yield _Cause(_Root.NORM, f"gradients whose norm overflows{images}", advice)


def _learning_scores(pl_module: nn.Module) -> Iterator[tuple[str, MaskedLayer]]:
    layers = masked_layers(pl_module.get_submodule("net"))
    return ((name, layer) for name, layer in layers if layer.scores.requires_grad)


def _broken(pl_module: nn.Module, *, buffers: bool) -> str | None:
    """The first parameter, or else buffer if asked, that is not finite, with the number of such values."""
    net = pl_module.get_submodule("net")
    state = [*net.named_parameters(), *(net.named_buffers() if buffers else ())]
    floats = [(name, tensor.detach()) for name, tensor in state if tensor.is_floating_point()]
    if get_total_norm([tensor for _, tensor in floats]).isfinite():  # in one go; sums of squares may overflow, too
        return None
    counts = ((name, tensor.numel(), _not_finite(tensor)) for name, tensor in floats)
    return next((f"{count} of {of} values of {name}" for name, of, count in counts if count), None)


def _not_finite(tensor: Tensor) -> int:
    return int((~tensor.isfinite()).sum())
