"""Perfect detections score 1, none score 0, in the coordinates and categories of the original images."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from hydra_det.boxes import Letterbox
from hydra_det.callbacks import detection_metrics
from hydra_det.callbacks.detection_metrics import DetectionMetrics
from hydra_det.callbacks.watching.progress import StageBar
from hydra_det.modules.detector import Detector
from hydra_det.types import Batch, Detections
from tests.callbacks.example import CATEGORY_IDS, TinyData, coco_form, fake_trainer, trainer
from tests.modules.example import target

# An image of 128 x 64 pixels lies in rows 16 to 47 of an input of 64 x 64: half the size, moved down by 16.
WIDE = Letterbox(size=64, width=128, height=64)
ORIGINAL = [[20.0, 10.0, 60.0, 50.0], [70.0, 4.0, 120.0, 60.0]]
INPUT = [[10.0, 21.0, 30.0, 41.0], [35.0, 18.0, 60.0, 46.0]]


class Log:
    """A module that remembers what it is told to log."""

    def __init__(self):
        self.logged = {}

    def log(self, name, value, **_):
        self.logged[name] = value


def found(boxes, labels):
    boxes = torch.tensor(boxes).view(-1, 4)
    return Detections(boxes, torch.linspace(0.9, 0.8, len(boxes)), torch.tensor(labels, dtype=torch.int64))


def evaluate(answers, *, split="val"):
    """Score one image with two objects; `answers` are the detections of each pass."""
    truth = coco_form([target(ORIGINAL, [1, 0], image_id=42)])
    truth["images"][0] |= {"width": 128, "height": 64}
    data, truths = TinyData(), {split: truth}
    data.ground_truth = lambda split: truths[split]  # type: ignore[method-assign]
    callback, log, run = DetectionMetrics(), Log(), fake_trainer(datamodule=data)
    hook = {"val": "validation", "test": "test"}[split]
    getattr(callback, f"on_{hook}_epoch_start")(run, log)
    for number, answer in enumerate(answers):
        made = Batch(images=torch.zeros(1, 3, 64, 64), targets=[target(INPUT, [1, 0], image_id=42, letterbox=WIDE)])
        getattr(callback, f"on_{hook}_batch_end")(run, log, [answer], made, 0, number)
    getattr(callback, f"on_{hook}_epoch_end")(run, log)
    return callback, log.logged


PERFECT, NOTHING = found(INPUT, [1, 0]), found([], [])
WRONG_CLASS = found(INPUT, [0, 1])


@pytest.mark.parametrize("split", ["val", "test"])
def test_perfect_and_nothing(split):
    _, logged = evaluate([PERFECT, NOTHING], split=split)
    assert logged == {
        f"{split}/map": pytest.approx(1),
        f"{split}/map_50": pytest.approx(1),
        f"{split}/map_attacked": 0,
        f"{split}/map_50_attacked": 0,
    }


def test_nothing_and_perfect():
    _, logged = evaluate([NOTHING, PERFECT])
    assert logged["val/map"] == 0
    assert logged["val/map_attacked"] == pytest.approx(1)


def test_one_pass():
    _, logged = evaluate([PERFECT])
    assert logged == {"val/map": pytest.approx(1), "val/map_50": pytest.approx(1)}


def test_the_class_counts():
    _, logged = evaluate([WRONG_CLASS])
    assert logged["val/map"] == 0


def test_results_are_in_the_terms_of_the_data_set():
    callback, _ = evaluate([PERFECT, NOTHING])
    assert callback.results["attacked"] == []
    for result, box, category in zip(callback.results["clean"], ORIGINAL, reversed(CATEGORY_IDS), strict=True):
        assert (result["image_id"], result["category_id"]) == (42, category)
        x1, y1, x2, y2 = box
        assert result["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1])


class Oracle(nn.Module):
    """Answers perfectly as long as it is asked about the images of the first pass."""

    def __init__(self, targets):
        super().__init__()
        self.targets, self.calls = targets, 0

    def forward(self, images):
        self.calls += 1
        return [images]

    def detections(self, raw):
        if self.calls % 2 == 0:
            return [found([], []) for _ in self.targets]
        return [found(t["boxes"].tolist(), t["labels"].tolist()) for t in self.targets]


@pytest.mark.parametrize("split", ["val", "test"])
def test_in_a_trainer(split):
    data, callback = TinyData(passes=2), DetectionMetrics()
    run = trainer(callback)
    module = Detector(Oracle(data.batches[0]["targets"]))
    for _ in range(2):  # nothing is left of the evaluation before
        (run.validate if split == "val" else run.test)(module, datamodule=data, verbose=False)
        metrics = {name: float(value) for name, value in run.callback_metrics.items()}
        assert metrics == {
            f"{split}/map": pytest.approx(1),
            f"{split}/map_50": pytest.approx(1),
            f"{split}/map_attacked": 0,
            f"{split}/map_50_attacked": 0,
        }
        assert [len(callback.results[name]) for name in ("clean", "attacked")] == [3, 0]


def test_a_test_pass_shows_the_ap_of_what_it_has_seen(monkeypatch):
    truth = coco_form([target(ORIGINAL, [1, 0], image_id=number) for number in (42, 43)])
    for image in truth["images"]:
        image |= {"width": 128, "height": 64}
    data = TinyData()
    data.ground_truth = lambda split: truth  # type: ignore[method-assign]
    monkeypatch.setattr(detection_metrics, "SO_FAR", 0.0)
    shown: list[str] = []
    log: Any = Log()
    callback, run = DetectionMetrics(show=shown.append), fake_trainer(datamodule=data)
    callback.on_test_epoch_start(run, log)
    for number, answer in ((42, PERFECT), (43, NOTHING)):
        callback._due = 0.0  # a pass of seconds in no time
        one = [target(INPUT, [1, 0], image_id=number, letterbox=WIDE)]
        callback.on_test_batch_end(run, log, [answer], Batch(images=torch.zeros(1, 3, 64, 64), targets=one), 0, 0)
    # Half of the objects, perfectly: COCO takes precision at 101 recalls, of which 51 are reached.
    assert shown == ["clean: AP 1.000 of 1 images", f"clean: AP {51 / 101:.3f} of 2 images"]
    callback.on_test_batch_end(run, log, [NOTHING], Batch(images=torch.zeros(1, 3, 64, 64), targets=one), 0, 0)
    assert len(shown) == 2, "the last look has cost some time, so the next one waits"


def test_the_bar_of_a_test_says_it(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar, told = StageBar(), []

    def show(text):
        bar.say(text)
        told.append(bar.test_progress_bar.description)

    shown = DetectionMetrics(show=show)
    data = TinyData(passes=1)
    run = pl.Trainer(accelerator="cpu", devices=1, logger=False, callbacks=[bar, shown], enable_model_summary=False)
    run.test(Detector(Oracle(data.batches[0]["targets"])), datamodule=data, verbose=False)
    assert told, "the first batch is looked at"
    assert "clean: AP" in told[0]
