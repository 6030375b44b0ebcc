"""The LightningModule: one training step and one evaluation step around any detector.

It knows its network by three verbs (`net(images)`, `net.losses`, `net.detections`) and nothing of stages, attacks,
scores or metrics: those are callbacks. `modules/protocol.py` says what the verbs take and give.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from hydra_det.types import Batch, Detections, InputError, LossTerms

# Raw maps of a training batch -> a term that is added to its loss, a scalar; None: not for this batch.
Penalty = Callable[[Any], Tensor | None]
OptimizerFactory = Callable[..., torch.optim.Optimizer]  # of parameter groups, and of further settings by name
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # on CPUs and on CUDA devices


class Detector(pl.LightningModule):
    """Trains and evaluates a detector.

    Args:
        net: the network, dense or masked.
        optimizer: makes an optimiser from parameter groups; not needed where nothing is trained.
        warmup_steps: the learning rate rises linearly over these steps, then falls as a cosine to 1 % of its peak.

    Attributes:
        penalties: terms that callbacks add to the loss, by name.
        terms: of the loss of the last training batch, detached scalars by name; `total` is their sum.
    """

    net: Any  # an nn.Module and `DetectorNetwork`; Module's attribute access hides that from a type checker

    def __init__(self, net: nn.Module, *, optimizer: OptimizerFactory | None = None, warmup_steps: int = 0) -> None:
        super().__init__()
        self.net = net
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.penalties: dict[str, Penalty] = {}
        self.terms: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> Any:
        """[B, 3, H, W] in [0, 1] -> raw maps"""
        return self.net(images)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean over the batch of the summed loss terms, and penalties. -> scalar"""
        raw = self.net(batch["images"])
        terms: LossTerms = self.net.losses(raw, batch["targets"])
        self.terms = {name: value.detach().mean() for name, value in terms.items()}
        loss = terms.total.mean()
        for name, penalty in self.penalties.items():
            if (added := penalty(raw)) is not None:
                self.terms[name] = added.detach()
                loss = loss + added
        self.log_dict({f"train/loss_{name}": v for name, v in self.terms.items()}, batch_size=len(batch["targets"]))
        self.terms["total"] = loss.detach()
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch["targets"]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> list[Detections]:
        """Detections of the batch, for the callbacks."""
        return self.net.detections(self.net(batch["images"]))

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> list[Detections]:
        """Detections of the batch, for the callbacks."""
        return self.net.detections(self.net(batch["images"]))

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters that ask for a gradient, with its schedule by step."""
        if self.optimizer is None:
            return None
        # A scaler of gradients (16-mixed) would leave its work to a fused step, behind the clipping.
        scaled = self.trainer.precision == "16-mixed"
        optimizer = (self.optimizer if scaled else fused(self.optimizer, self.device))(parameter_groups(self.net))
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, steps=steps, warmup=self.warmup_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As Lightning clips, which refuses every fused optimiser in bfloat16, though no gradient is scaled there."""
        if self.trainer.precision != "bf16-mixed":
            return super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not gradient_clip_val:
            return None
        if gradient_clip_algorithm == "value":
            return nn.utils.clip_grad_value_(parameters, gradient_clip_val)
        nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
        return None


def fused(optimizer: OptimizerFactory, device: torch.device) -> OptimizerFactory:
    """The same optimiser, with torch's step in one pass over the parameters where it has one for the device.

    Nothing changes where the settings say `fused` or `foreach` themselves.
    """
    if getattr(optimizer, "func", optimizer) not in FUSED or device.type not in ("cpu", "cuda"):
        return optimizer
    parameters = inspect.signature(optimizer).parameters
    if parameters["fused"].default is not None or parameters["foreach"].default is not None:
        return optimizer
    return functools.partial(optimizer, fused=True)


def check_classes(net: Any, class_names: Sequence[str]) -> None:
    """Refuse names of classes that are not those of a network, by their number, where it says how many it has."""
    if len(class_names) != getattr(net, "num_classes", len(class_names)):
        raise InputError(
            f"class_names: expected the names of the {net.num_classes} classes of the network, got {len(class_names)}"
        )


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Trainable parameters in two groups: weights of convolutions and linear layers, which decay, and all others.

    Decay of scores, BatchNorm scales or biases would be a pull towards 0 that no loss asked for.
    """
    weights = {id(m.weight) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    trainable = [p for p in network.parameters() if p.requires_grad]
    decaying = [p for p in trainable if id(p) in weights]
    others = [p for p in trainable if id(p) not in weights]
    groups: list[dict[str, Any]] = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Factor of the learning rate at `step`: linear rise over `warmup` steps, then a cosine down to 0.01 at `steps`.

    Example:
        >>> [round(warmup_cosine(step, steps=10, warmup=2), 2) for step in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.01]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return max(0.01, (1 + math.cos(math.pi * progress)) / 2)
