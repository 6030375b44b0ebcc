"""What TensorBoard is told: hand-made flips are counted, histograms follow the epochs, pictures come in pairs."""

import random
from io import BytesIO
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hydra_det.attacks.noise import Noise
from hydra_det.callbacks.freeze import Freeze
from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
from hydra_det.callbacks.watching.inspection import Inspection
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.types import Detections
from tests.callbacks.example import TinyData, detector, trainer
from tests.modules.example import SIZE, batch, network

# A fit without validation images is what is wanted in some of these.
pytestmark = pytest.mark.filterwarnings("ignore:Total length of `list`")


class Edit(pl.Callback):
    """Flips masks by hand: `weights[epoch]` says how many of each layer, at the end of a batch as `TopKMask` does."""

    def __init__(self, *weights: dict[str, int]) -> None:
        self.weights = weights

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        layers = dict(masked_layers(pl_module.net))
        for name, count in self.weights[trainer.current_epoch].items():
            flat = layers[name].mask.view(-1)
            flat[:count] = ~flat[:count]


def fit(folder, net, *callbacks, batches=1, passes=0, **arguments):
    """Fit with a logger in `folder`. What TensorBoard reads there."""
    logger = TensorBoardLogger(folder, name="", version="log")
    run = trainer(*callbacks, **arguments)
    run.loggers = [logger]
    run.fit(detector(net), datamodule=TinyData(batches, passes=passes))
    logger.finalize("success")
    return EventAccumulator(str(folder / "log"), size_guidance={"histograms": 0, "images": 0}).Reload()


def masked():
    net = make_masked(network("yolov3_tiny"))
    with torch.no_grad():
        for _, layer in masked_layers(net):
            layer.scores.normal_(generator=torch.Generator().manual_seed(0))
    return net


def layers_of(net):
    return {name: layer.mask.numel() for name, layer in masked_layers(net)}


def values(log, name):
    return [event.value for event in log.Scalars(name)]


def histograms_by_name(log):
    return {name for name in log.Tags()["histograms"] if not name.startswith("layers/")}


def test_layers_are_shown_together_unless_each_is_asked_for(tmp_path):
    net = masked()
    sizes = layers_of(net)
    first = next(iter(sizes))
    means = [float(layer.scores.abs().mean()) for _, layer in masked_layers(net)]
    log = fit(tmp_path, net, Freeze(train=["weights"]), Edit({first: 3}), Inspection(), max_epochs=1)
    assert {name for name in log.Tags()["scalars"] if "mask" in name or "layer" in name} == {
        "mask/flips",
        "mask/sparsity",
    }
    assert set(log.Tags()["histograms"]) == {"layers/sparsity", "layers/flips", "layers/score_size"}
    for name, values in (("flips", [3 / sizes[first]]), ("score_size", means)):
        seen = log.Histograms(f"layers/{name}")[-1].histogram_value
        assert seen.num == len(sizes)
        assert seen.sum == pytest.approx(sum(values), rel=1e-5)
        assert seen.max == pytest.approx(max(values), rel=1e-5)


def test_flips_are_those_made_by_hand(tmp_path):
    net = masked()
    sizes = layers_of(net)
    first, _, _, second, *_ = sizes
    # Three flips; none; two of them back and one of another layer. Of weights that were kept to begin with.
    edits = Edit({first: 3}, {}, {first: 2, second: 1})
    log = fit(tmp_path, net, Freeze(train=["scores"]), edits, Inspection(layers=True), max_epochs=3)
    total = sum(sizes.values())
    assert values(log, "mask/flips") == pytest.approx([3 / total, 0, 3 / total])
    assert values(log, f"flips_of_layer/{first}") == pytest.approx([3 / sizes[first], 0, 2 / sizes[first]])
    assert values(log, f"flips_of_layer/{second}") == pytest.approx([0, 0, 1 / sizes[second]])
    assert values(log, f"sparsity_of_layer/{first}") == pytest.approx([n / sizes[first] for n in (0, 3, 3, 1)])
    assert values(log, "mask/sparsity") == pytest.approx([n / total for n in (0, 3, 3, 2)], rel=1e-4)
    assert [event.step for event in log.Scalars("mask/flips")] == [1, 2, 3]


def test_what_flips_twice_in_an_epoch_did_not_change(tmp_path):
    net = masked()
    name = next(iter(layers_of(net)))
    log = fit(tmp_path, net, Freeze(train=["scores"]), Edit({name: 5}), Inspection(layers=True), batches=2)
    assert values(log, "mask/flips") == [0]


def test_scores_are_drawn_before_the_first_epoch_and_after_every_one(tmp_path):
    net = masked()
    before = {name: layer.scores.detach().clone().numpy() for name, layer in masked_layers(net)}
    log = fit(tmp_path, net, Freeze(train=["scores"]), Inspection(layers=True), batches=2, max_epochs=3)
    assert histograms_by_name(log) == {f"scores_of_layer/{name}" for name in layers_of(net)}
    for name, layer in masked_layers(net):
        events = log.Histograms(f"scores_of_layer/{name}")
        assert [event.step for event in events] == [0, 2, 4, 6]
        for event, scores in ((events[0], before[name]), (events[-1], layer.scores.detach().numpy())):
            seen = event.histogram_value
            assert seen.num == scores.size
            assert seen.sum == pytest.approx(scores.sum(), abs=1e-3)
            assert (seen.min, seen.max) == (pytest.approx(scores.min()), pytest.approx(scores.max()))
            below = np.cumsum(seen.bucket)
            middle = len(below) // 2
            assert below[middle] == pytest.approx(np.sum(scores <= seen.bucket_limit[middle]), abs=1)
        assert len(events[-1].histogram_value.bucket) <= 65, "files stay small"


def test_scores_that_do_not_learn_are_drawn_once(tmp_path):
    net = masked()
    log = fit(tmp_path, net, Freeze(train=["weights", "batch_norm"]), Inspection(layers=True), max_epochs=2)
    name = next(iter(layers_of(net)))
    assert [event.step for event in log.Histograms(f"scores_of_layer/{name}")] == [0]
    assert values(log, "mask/flips") == [0, 0]
    assert values(log, "mask/sparsity") == [0, 0, 0]


def test_a_stage_that_trains_nothing_shows_what_it_made(tmp_path):
    class Prune(pl.Callback):
        def on_fit_start(self, _trainer, pl_module):
            for _, layer in masked_layers(pl_module.net):
                layer.mask.view(-1)[::2] = False

    net = masked()
    log = fit(tmp_path, net, Prune(), Inspection(layers=True), max_epochs=0)
    assert values(log, "mask/sparsity") == [pytest.approx(0.5, abs=1e-3)]
    assert histograms_by_name(log) == {f"scores_of_layer/{name}" for name in layers_of(net)}
    assert "mask/flips" not in log.Tags()["scalars"], "nothing was before"


def test_a_score_that_ran_away_does_not_stop_the_training(tmp_path):
    net = masked()
    layers = masked_layers(net)
    with torch.no_grad():
        layers[0][1].scores.fill_(float("nan"))
        layers[1][1].scores.view(-1)[0] = float("inf")
    log = fit(tmp_path, net, Freeze(train=["weights"]), Inspection(layers=True), max_epochs=1)
    assert f"scores_of_layer/{layers[0][0]}" not in log.Tags()["histograms"]
    (event,) = log.Histograms(f"scores_of_layer/{layers[1][0]}")
    assert event.histogram_value.num == layers[1][1].scores.numel() - 1


def test_a_dense_network_has_no_masks_to_show(tmp_path):
    log = fit(tmp_path, network("yolov3_tiny"), Inspection(), passes=1)
    assert not log.Tags()["histograms"]
    assert not [name for name in log.Tags()["scalars"] if name.startswith(("mask", "layers"))]
    assert log.Tags()["images"] == ["val/clean"], "nothing is attacked: one picture an image"


def pixels(event):
    return np.asarray(Image.open(BytesIO(event.encoded_image_string)).convert("RGB")).astype(int)


def test_the_left_picture_is_clean_and_the_right_one_attacked(tmp_path):
    net, data = network("yolov3_tiny"), TinyData()
    attack = AdversarialBatch(Noise(epsilon=0.2))
    inspection = Inspection(images=2, confidence=1.1)  # no detection covers a pixel
    log = fit(tmp_path, net, attack, inspection, passes=2)
    assert log.Tags()["images"] == ["val/clean_vs_attacked"]
    (event,) = log.Images("val/clean_vs_attacked")
    shown = pixels(event)
    scale = 320 // SIZE
    middle = shown.shape[1] // 2
    left, right = shown[:, :middle], shown[:, middle:]
    # A pixel of the second image far from its objects, wherever the rows of its picture begin.
    wanted = (data.batches[0]["images"][1][:, -3:, :3] * 255).round().permute(1, 2, 0).numpy()
    away = [closest(side, wanted, scale) for side in (left, right)]
    assert away[0] == 0, "the clean image is on the left"
    assert 3 < away[1] <= 0.2 * 255 + 1, "on the right it is changed, no further than noise moves a pixel"


def closest(side, wanted, scale):
    """The least, over all places, of the largest difference to a patch of 3 x 3 pixels that are drawn `scale` wide."""
    best = 255.0
    for top in range(side.shape[0] - 3 * scale + 1):
        for left in range(8):
            patch = side[top : top + 3 * scale : scale, left : left + 3 * scale : scale]
            best = min(best, np.abs(patch - wanted).max())
    return best


def test_other_processes_write_nothing(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    inspection, run, module = Inspection(), MagicMock(), MagicMock()
    for hook in ("on_train_start", "on_train_epoch_end", "on_fit_end", "on_validation_end"):
        getattr(inspection, hook)(run, module)
    made = batch()
    nothing = [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))] * 2
    for number in range(2):
        inspection.on_validation_batch_end(run, module, nothing, made, 0, number)
    inspection.on_validation_end(run, module)
    assert not run.mock_calls
    assert not module.mock_calls


def test_who_looks_changes_neither_what_is_learned_nor_what_is_drawn(tmp_path):
    ends: list[Any] = []
    for looking in ([], [Inspection()]):
        pl.seed_everything(3, verbose=False)
        net = masked()
        attack = AdversarialBatch(Noise(), share=1)
        folder = tmp_path / str(len(ends))
        fit(folder, net, Freeze(train=["scores"]), attack, *looking, passes=2, batches=2, max_epochs=2)
        ends.append((net.state_dict(), torch.rand(3).tolist(), np.random.rand(), random.random()))
    (state, *draws), (watched_state, *watched_draws) = ends
    assert draws == watched_draws
    assert all(torch.equal(tensor, watched_state[name]) for name, tensor in state.items())
