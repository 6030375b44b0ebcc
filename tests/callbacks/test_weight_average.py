"""The average of the weights: against its formula written out, and what is validated and kept."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from hydra_det.callbacks.weight_average import WeightAverage, weight_average
from hydra_det.types import InputError
from tests.callbacks.example import TinyData, detector, trainer
from tests.modules.example import network


class Watch(pl.Callback):
    """Keeps one weight, one running mean and one count after every step, and the weight that is validated."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.means: list[Tensor] = []
        self.validated: list[Tensor] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        state = pl_module.state_dict()
        self.weights.append(state[WEIGHT].clone())
        self.means.append(state[MEAN].clone())

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        self.validated.append(pl_module.state_dict()[WEIGHT].clone())


NAMES = list(network().state_dict())
WEIGHT = "net." + next(name for name in NAMES if name.endswith("weight"))
MEAN = "net." + next(name for name in NAMES if name.endswith("running_mean"))


def expected(values: list[Tensor], decay: float) -> Tensor:
    average = values[0].double()
    for number, value in enumerate(values[1:], start=1):
        d = min(decay, (1 + number) / (10 + number))
        average = d * average + (1 - d) * value.double()
    return average.float()


@pytest.mark.parametrize("decay", [0.25, 0.9])
def test_the_average_is_what_is_validated_and_kept(decay: float) -> None:
    made, watch = detector(network()), Watch()
    fit = trainer(watch, WeightAverage(decay=decay), max_epochs=3)
    fit.fit(made, datamodule=TinyData(2, passes=1))
    assert len(watch.weights) == 6
    wanted = expected(watch.weights, decay)
    assert not torch.allclose(wanted, watch.weights[-1], rtol=0, atol=1e-6), "the example must tell them apart"
    state = made.state_dict()
    torch.testing.assert_close(state[WEIGHT], wanted, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(state[MEAN], expected(watch.means, decay), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(watch.validated[-1], wanted, rtol=1e-5, atol=1e-7)
    # Training went on from the current weights, not from the average.
    torch.testing.assert_close(watch.validated[0], expected(watch.weights[:2], decay), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_a_resumed_training_keeps_the_same_average(tmp_path: Path, stopped_after: int) -> None:
    def fit(epochs: int, seed: int = 0, resumed: Path | None = None) -> dict[str, Tensor]:
        made = detector(network(seed=seed))
        made.warmup_steps = 0
        save = ModelCheckpoint(
            tmp_path, filename="{epoch}", save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=True
        )
        run = trainer(WeightAverage(decay=0.9), save, max_epochs=epochs, enable_checkpointing=True)
        run.fit(made, datamodule=TinyData(2), ckpt_path=resumed, weights_only=True)
        return {name: tensor.clone() for name, tensor in made.state_dict().items()}

    whole = fit(3)
    # After the last epoch nothing is trained any more: the average has to arrive all the same.
    resumed = fit(3, seed=5, resumed=tmp_path / f"epoch={stopped_after - 1}.ckpt")
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


def test_no_decay_is_no_callback() -> None:
    assert weight_average(None) is None


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, 1.5])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(InputError, match=r"ema: expected .*in \(0, 1\)"):
        weight_average(decay)
