"""A stage that was stopped anywhere and goes on leaves, bit for bit, what one leaves that was never stopped."""

import logging

import pytest

from hydra_det.callbacks.stage_checkpoint import StageCheckpoint
from hydra_det.pipeline.runner import Run
from hydra_det.pipeline.stages.stage import STAGES
from hydra_det.store.checkpoints import EARLIER, LAST
from tests.pipeline.tiny import arguments, compose

# Two epochs of four batches of the stage that is stopped; those before it are as short as can be.
EPOCHS = {"pretrain": 1, "train_scores": 1, "finetune": 2}
ATTACKED = ("stage.pretrain.epochs=2", "stage.pretrain.clean_epochs=0", "stage.pretrain.attacked_share=1")
PRETRAIN = {
    "pgd": (),
    "random start": ("attack.random_start=true", "hardening.part=0.5"),
    "augmentation": ("data.mosaic=0.5", "data.multi_scale=0.5", "data.colour_jitter=0.3", "data.crop_jitter=0.2"),
    "workers": ("data.workers=2",),
    "average": ("stage.pretrain.ema=0.9",),
    "accumulated": ("trainer.accumulate_grad_batches=2",),
    "free": ("hardening=free", "hardening.replays=2"),
    "fast": ("hardening=fast", "hardening.watch.every=2"),
    "task_wise": ("hardening=task_wise",),
    "consistent": ("hardening=consistent",),
}
WAYS = {
    **{way: ("pretrain", (*ATTACKED, *overrides)) for way, overrides in PRETRAIN.items()},
    "scores": ("train_scores", ("stage.train_scores.epochs=2", "init=deeplift")),
    "learned shares": ("train_scores", ("stage.train_scores.epochs=2", "prune.allocation=learned")),
    "channels": ("finetune", ("prune=filter_group",)),
    "bfloat16": (
        "train_scores",
        ("stage.train_scores.epochs=2", "trainer.precision=bf16-mixed", "model.channels_last=true"),
    ),
}


class StopError(Exception):
    """What stops a stage in a test."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Weights by way, of stages that nothing stopped."""
    found: dict[str, bytes] = {}

    def of(way):
        if way not in found:
            found[way] = weights(tmp_path_factory.mktemp("undisturbed"), way)
        return found[way]

    return of


def weights(folder, way, *, minutes=0):
    """What a stage leaves that saves whenever it can, or so many minutes apart."""
    last, overrides = WAYS[way]
    short = (f"stage.{name}.epochs={count}" for name, count in EPOCHS.items())
    config = compose(arguments(folder, "attack.steps=1", *short, f"checkpoint_minutes={minutes}", *overrides))
    run = Run(config, folder / "run", choices={}, overrides=[])
    stage = None
    for name in STAGES[: STAGES.index(last) + 1]:
        stage = run.runner.run(name, stage)
    assert stage is not None
    return stage.weights.read_bytes()


def stop(monkeypatch, folder, way, saves):
    """Let the stage fail right after so many of its checkpoints."""
    original, done = StageCheckpoint._save, []

    def save(self, trainer):
        original(self, trainer)
        done.append(self.path.parent.name.startswith(WAYS[way][0]))
        if sum(done) == saves:
            raise StopError

    monkeypatch.setattr(StageCheckpoint, "_save", save)
    with pytest.raises(StopError):
        weights(folder, way)
    monkeypatch.setattr(StageCheckpoint, "_save", original)
    return next((folder / "store").glob(f"{WAYS[way][0]}-*.partial"))


# They take the most time together, and resume by what the others resume by.
RARE = ("random start", "augmentation", "workers", "accumulated", "fast", "task_wise", "consistent", "channels")


@pytest.mark.parametrize(
    ("way", "saves"),
    [
        *(pytest.param(way, 3, marks=[pytest.mark.slow] if way in RARE else []) for way in WAYS),
        *(pytest.param("pgd", saves, marks=pytest.mark.slow) for saves in (1, 4, 5, 8)),
    ],
)
def test_a_stopped_stage_leaves_what_one_leaves_that_was_not_stopped(tmp_path, monkeypatch, undisturbed, way, saves):
    stop(monkeypatch, tmp_path, way, saves)
    assert weights(tmp_path, way) == undisturbed(way)


def test_how_often_a_stage_is_saved_does_not_change_it(tmp_path, undisturbed):
    assert weights(tmp_path, "pgd", minutes=1000) == undisturbed("pgd")


def test_within_an_epoch_it_goes_on_and_does_not_begin_again(tmp_path, monkeypatch, caplog):
    partial = stop(monkeypatch, tmp_path, "pgd", 2)
    seen = []
    original = StageCheckpoint.on_train_batch_end

    def count(self, trainer, module, outputs, batch, batch_idx):
        seen.append((trainer.current_epoch, batch_idx))
        original(self, trainer, module, outputs, batch, batch_idx)

    monkeypatch.setattr(StageCheckpoint, "on_train_batch_end", count)
    with caplog.at_level(logging.INFO):
        weights(tmp_path, "pgd")
    assert seen == [(0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert f"pretrain: goes on from {partial / LAST}" in caplog.text


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_damaged_checkpoint_is_not_read_and_the_one_before_it_is(tmp_path, monkeypatch, undisturbed, caplog, harm):
    partial = stop(monkeypatch, tmp_path, "pgd", 3)
    content = (partial / LAST).read_bytes()
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    (partial / LAST).write_bytes({"cut": content[:-1], "changed": changed}[harm])
    with caplog.at_level(logging.INFO):
        assert weights(tmp_path, "pgd") == undisturbed("pgd")
    assert f"{partial / LAST}: expected a checkpoint as it was written, found a damaged one" in caplog.text
    assert f"pretrain: goes on from {partial / EARLIER}" in caplog.text
