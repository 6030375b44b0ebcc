"""An exponential moving average of the weights, which is what is validated and kept."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

from hydra_det.types import InputError, as_fraction


class WeightAverage(WeightAveraging):
    """Lightning's weight averaging with a decay that grows from 0.1 to its final value.

    After n steps the decay is min(decay, (1 + n) / (10 + n)), as in TensorFlow's `ExponentialMovingAverage`: short
    trainings are not dominated by their first weights. Running statistics of BatchNorm are averaged as well.

    Args:
        decay: in (0, 1); the average looks back over about 1 / (1 - decay) steps.
    """

    def __init__(self, *, decay: float) -> None:
        if not 0 < decay < 1:
            raise InputError(
                f"ema: expected the decay of the average in (0, 1), or null for none, got {as_fraction(decay)}"
            )
        self.decay = decay
        super().__init__(avg_fn=self._average)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # It was made before the weights moved to their device.
        assert self._average_model is not None
        self._average_model.to(pl_module.device)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning hands the average over when training ends; a stage resumed behind its last epoch trains nothing.
        assert self._average_model is not None
        if self._average_model.n_averaged > 0:
            self._copy_average_to_current(pl_module)

    def _average(self, average: Tensor, current: Tensor, steps: Tensor) -> Tensor:
        if not average.is_floating_point():  # masks, and BatchNorm's count of batches
            return current
        decay = ((1 + steps) / (10 + steps)).clamp(max=self.decay)  # stays on its device: no wait for a GPU
        return average + (current - average) * (1 - decay)


def weight_average(decay: float | None) -> pl.Callback | None:
    """The callback, or None where no average is wanted."""
    return None if decay is None else WeightAverage(decay=decay)
