"""Replaces clean images by attacked ones before the step sees them."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from hydra_det.attacks.ball import NORMS
from hydra_det.attacks.base import Attack
from hydra_det.attacks.objectives.ranking import Ranking
from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.callbacks.hardening.overfitting_watch import OverfittingWatch
from hydra_det.modules.masked_conv import folded
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, InputError, as_fraction

CLEAN, ATTACKED = "clean", "attacked"
# Evaluation goes over the same images once per pass, in this order.
PASSES = (CLEAN, ATTACKED)


class AdversarialBatch(pl.Callback):
    """Attacks a share of the training batches and the second pass of every evaluation.

    The rule in training: from epoch `first_epoch` on, batch k of an epoch is attacked if and only if
    `floor((k + 1) * share) > floor(k * share)`. A share of 0.5 attacks every second batch, the others stay clean.

    The attack raises its objective on the network as it is scored: in eval mode, with frozen BatchNorm
    statistics. It leaves no gradient and no flag behind, also when it fails. Letterbox padding is perturbed only by
    an attack with `padding`.

    Subclasses harden a network in other ways: they say in `harden` what becomes of a training batch that is due.

    Args:
        attack: in evaluation, and in training where no other is given; None attacks nothing.
        training: the attack of training batches.
        share: of the training batches, in [0, 1].
        first_epoch: the epochs before it train on clean batches only.
        part: share of the images of an attacked batch that are attacked, in (0, 1].
        ramp_epochs: epsilon of training grows over so many epochs, by equal steps, to its value.
        resolution: share of the side of the images that training batches are attacked at; see `attacked_images`.
        bf16: compute training attacks in bfloat16, as autocast does; the training step keeps its own precision.
        watch: looks out for a cheap training attack that stopped working.
        seed: of the attacks that draw.
        source: the network whose loss is raised; None: the one that is trained or evaluated.
    """

    def __init__(
        self,
        attack: Attack | None,
        *,
        training: Attack | None = None,
        share: float = 0.0,
        first_epoch: int = 0,
        part: float = 1.0,
        ramp_epochs: int = 0,
        resolution: float = 1.0,
        bf16: bool = False,
        watch: OverfittingWatch | None = None,
        seed: int = 0,
        source: nn.Module | None = None,
    ) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"attacked_share: expected a share of the batches in [0, 1], got {as_fraction(share)}")
        for name, value in (("part", part), ("resolution", resolution)):
            if not 0 < value <= 1:
                raise InputError(f"hardening.{name}: expected a share in (0, 1], got {as_fraction(value)}")
        self.attack = attack
        self.training = training or attack
        if attack is not None and self.training is not None:
            check_norms(attack.norm, self.training.norm)
        if resolution < 1 and self.training is not None:
            if self.training.norm != "linf":
                raise InputError(f"hardening.resolution: expected 1 with another norm than linf, got {resolution}")
            if getattr(self.training, "eight_bit", False):
                raise InputError(f"hardening.resolution: expected 1 with eight_bit=true, got {resolution}")
        if ramp_epochs and self.training is not None:
            self.training.scaled(0.5)  # refuses what has no radius
        self.share = share
        self.first_epoch = first_epoch
        self.part = part
        self.ramp_epochs = ramp_epochs
        self.resolution = resolution
        self.bf16 = bf16
        self.watch = watch
        self.seed = seed
        self.source = source
        self._ranking = Ranking()  # of the evaluation that is going on

    @property
    def facts(self) -> dict[str, Any]:
        """For the record: what the watch saw."""
        return {} if self.watch is None else self.watch.facts

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if trainer.current_epoch >= self.first_epoch and is_due(batch_idx, self.share):
            self.harden(trainer, pl_module, batch, batch_idx)

    def harden(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int) -> None:
        """Turn a training batch into what the step should see of it."""
        attacked = self.attacked(trainer, pl_module, self.some(batch), batch_idx)
        rest = batch["images"][len(attacked) :]
        batch["images"] = torch.cat([attacked, rest]) if self.part < 1 else attacked

    def some(self, batch: Batch) -> Batch:
        """The first images of a batch, as many as are to be attacked, rounded up."""
        if self.part == 1:
            return batch
        count = math.ceil(self.part * len(batch["targets"]) - 1e-9)
        return Batch(images=batch["images"][:count], targets=batch["targets"][:count])

    def attacked(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int) -> Tensor:
        """Training images under the training attack, at the strength of this epoch. [B, 3, H, W]"""
        attack = self.training if self.watch is None else self.watch.choose(self.training)
        if attack is None:
            return batch["images"]
        strength = self.strength(trainer)
        attack = attack if strength == 1 else attack.scaled(strength)
        half = torch.autocast(pl_module.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        with self._looking(trainer, pl_module) as net, half:
            generator = self._generator(trainer, trainer.current_epoch, batch_idx)
            coarse = 1.0 if self.watch is not None and self.watch.fell_back_at else self.resolution
            found = attacked_images(net, batch, attack, generator=generator, resolution=coarse)
            if self.watch is not None:
                self.watch.look(trainer, net, batch, found, strength=strength, generator=generator)
        return found

    def strength(self, trainer: pl.Trainer) -> float:
        """Epsilon of training in this epoch, as a share of its value."""
        return min(1.0, (trainer.current_epoch - self.first_epoch + 1) / (self.ramp_epochs + 1))

    def holds_back(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """Whether the steps after this batch need something that `state_dict` does not hold."""
        return False

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ranking = Ranking()

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ranking = Ranking()

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if PASSES[dataloader_idx] == ATTACKED and self.attack is not None:
            with self._looking(trainer, pl_module) as net:
                generator = self._generator(trainer, batch_idx)
                batch["images"] = attacked_images(net, batch, self.attack, generator=generator, ranking=self._ranking)

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def state_dict(self) -> dict[str, Any]:
        """What the watch saw."""
        return {} if self.watch is None else self.watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        if self.watch is not None:
            self.watch.load_state_dict(state_dict)

    def _generator(self, trainer: pl.Trainer, *draw: int) -> torch.Generator:
        return torch.Generator().manual_seed(hash((self.seed, *draw, trainer.global_rank)) % 2**63)

    @contextmanager
    def _looking(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Iterator[nn.Module]:
        """The network that is attacked, as it is scored, for many passes that leave no trace."""
        if torch.is_inference_mode_enabled():
            raise InputError(
                "trainer.inference_mode: expected false, got true; an attack needs gradients in evaluation"
            )
        net = pl_module.get_submodule("net") if self.source is None else self.source.to(pl_module.device)
        with undisturbed(net), folded(net), trainer.precision_plugin.forward_context():
            yield net


def on_schedule(hardening: Callable[..., AdversarialBatch], **schedule: Any) -> AdversarialBatch:
    """A way of hardening, from the group `hardening`, with what a stage says: which batches, from when, which seed."""
    return hardening(**schedule)


def check_norms(evaluation: str, training: str) -> None:
    """Refuse to train in the ball of another norm than is evaluated: its radius would mean something else."""
    if evaluation in NORMS and training in NORMS and evaluation != training:
        raise InputError(
            f"hardening: expected attacks of one norm, got attack.norm={evaluation} and {training} in training; "
            "use hardening=attacked"
        )


def is_due(batch_idx: int, share: float) -> bool:
    """Whether batch number `batch_idx` is among the attacked share."""
    # In floats 0.29 * 100 is 28.999...; the small term is far below any share and above any rounding.
    before, after = (math.floor(count * share + 1e-9) for count in (batch_idx, batch_idx + 1))
    return after > before
