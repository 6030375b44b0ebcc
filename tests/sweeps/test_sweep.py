"""Sweeps as a whole: what is refused before anything runs, and what is left after."""

import itertools
import logging
import os
import re
import sys

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from hydra_det.data.datamodule import DetectionData
from hydra_det.errors import InputError
from hydra_det.pipeline.build import CONFIG_DIR
from hydra_det.process.log_lines import NamedLines, Once
from hydra_det.process.script import job
from hydra_det.sweeps.sweep import SweepCheck, check_images, check_jobs, grid_of, pairs_covered
from tests.data.layouts import exports


@pytest.fixture
def loader(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def sweep_of(loader, *typed):
    return loader.load_configuration("train", list(typed), run_mode=RunMode.MULTIRUN)


# What is typed -> how the refusal begins.
REFUSED = {
    "prune.ratio=0.5,1.5": "prune.ratio=1.5: prune.ratio: expected a fraction removed in [0, 1), got 1.5",
    "prune.ratio=0.5,0.7 init=scaled,deeplift init.target=assigned,boxes": "prune.ratio=0.5 init=scaled init.target=",
    "seed=0,1,-1": "seed=-1: seed: expected a whole number of at least 0, got -1",
    "stage.pretrain.epochs=3,6 stage.pretrain.clean_epochs=0,2 stage.pretrain.ramp_epochs=0,3":
        "stage.pretrain.epochs=3 stage.pretrain.clean_epochs=0 stage.pretrain.ramp_epochs=3: stage.pretrain.",
    "init=random,deeplift +init.attacked=true attack=none,pgd": "init=random attack=none: ",
    "data=coco seed=0,1": "seed=0: data.root: expected a value",
    "trainer.precision=7 prune.ratio=0.5": "all jobs: ",
}  # fmt: skip


@pytest.mark.parametrize(("typed", "said"), REFUSED.items(), ids=list(REFUSED))
def test_a_wrong_value_in_a_grid_is_refused_with_its_job(loader, typed, said):
    with pytest.raises(InputError) as refused:
        check_jobs(sweep_of(loader, *typed.split()), loader)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "typed",
    [
        ["sweep=smoke_grid", "experiment=smoke"],
        ["prune.ratio=0.25,0.5", "init=scaled,deeplift", "prune=weight,kernel"],
        ["prune.exclude=[],[heads]", "+stage.pretrain.ema=0.9,0.99"],
        ["data=coco", "data.root=a,b"],
        ["seed=0,1", "trainer.accelerator=gpu", "hydra/launcher=slurm", "hydra.launcher.partition=gpu"],  # others' GPUs
        [],
    ],
    ids=" ".join,
)
def test_a_right_grid_passes(loader, typed):
    check_jobs(sweep_of(loader, *typed), loader)


def test_the_grid_is_that_of_the_sweeper(loader):
    jobs = grid_of(sweep_of(loader, "sweep=smoke_grid", "experiment=smoke", "seed=7"), loader)
    assert len(jobs) == 5 * 3
    assert jobs[1] == (
        "seed=7", "configuration=deeplift_weight", "prune.ratio=0.5", "sweep=smoke_grid", "experiment=smoke",
    )  # fmt: skip


def test_every_pair_of_values_is_looked_at_in_few_jobs():
    values = {"seed": range(10), "configuration": "abcde", "prune.ratio": range(9)}
    grid = [[f"{key}={value}" for value in of_key] for key, of_key in values.items()]
    jobs = [("fixed=1", *job) for job in itertools.product(*grid)]
    found = list(pairs_covered(jobs, {text for of_key in grid for text in of_key}))
    wanted = {pair for one, other in itertools.combinations(grid, 2) for pair in itertools.product(one, other)}
    assert wanted <= {pair for job in found for pair in itertools.combinations(job, 2)}
    assert len(found) < 0.4 * len(jobs)
    assert found[0] == jobs[0]
    assert list(pairs_covered(jobs[:1], set())) == jobs[:1]


def test_a_refused_grid_ends_the_program_and_a_warning_would_not(loader, caplog):
    with pytest.raises(SystemExit) as ended:
        SweepCheck().on_multirun_start(sweep_of(loader, "prune.ratio=0.5,1.5"))
    assert ended.value.code == 1
    assert [record.message for record in caplog.records] == [
        "error: prune.ratio=1.5: prune.ratio: expected a fraction removed in [0, 1), got 1.5"
    ]
    # What Hydra says better itself, when it composes the jobs.
    SweepCheck().on_multirun_start(sweep_of(loader, "init=scaled,magic"))


def broken_set(folder):
    """A set whose only picture that cannot be decoded is known by its header."""
    exports.label_studio_yolo(folder)
    file = folder / "images" / "img5.jpg"
    file.write_bytes(file.read_bytes()[:-400])
    return ["data=yolo", f"data.root={folder}", "data.split=0.2", f"data.decoded={folder / 'known'}"]


def test_a_picture_that_cannot_be_decoded_ends_a_sweep_before_its_first_job(loader, caplog, tmp_path):
    config = sweep_of(loader, *broken_set(tmp_path), "prune.ratio=0.25,0.5")
    with pytest.raises(SystemExit) as ended:
        SweepCheck().on_multirun_start(config)
    assert ended.value.code == 1
    (line,) = [record.message for record in caplog.records]
    assert re.fullmatch(
        r"error: .*img5\.jpg: expected an image file, could not read it \(.*\); replace or remove it", line
    )
    # What other machines read is not here, and a plan trains nothing.
    elsewhere = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu"]
    SweepCheck().on_multirun_start(sweep_of(loader, *broken_set(tmp_path), *elsewhere, "seed=0,1"))
    SweepCheck().on_multirun_start(sweep_of(loader, *broken_set(tmp_path), "seed=0,1", "dry_run=true"))


def test_images_are_read_once_for_all_jobs_that_use_them(loader, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(DetectionData, "prepare", lambda self: read.append((self.subset_seed, self.seed)))
    words = [*broken_set(tmp_path), "seed=0,1,2", "data.batch_size=2,4", "data.subset_seed=3,4"]
    check_images(check_jobs(sweep_of(loader, *words), loader))
    assert sorted(chosen for chosen, _ in read) == [3, 4]


def test_a_dry_run_plans_in_this_process_whatever_the_launcher(loader, caplog):
    config = sweep_of(loader, "prune.ratio=0.25,0.5", "hydra/launcher=joblib", "dry_run=true")
    SweepCheck().on_multirun_start(config)
    assert config.hydra.launcher == sweep_of(loader).hydra.launcher
    with pytest.raises(SystemExit):
        SweepCheck().on_multirun_start(sweep_of(loader, "hydra/sweeper=optuna", "dry_run=true"))
    assert "dry_run: expected a grid" in caplog.text


def test_a_sweeper_that_chooses_is_let_through(loader):
    SweepCheck().on_multirun_start(sweep_of(loader, "hydra/sweeper=optuna", "prune.ratio=0.1,3"))


def test_every_line_names_its_job():
    record = logging.LogRecord("a", logging.INFO, "", 0, "two\nlines", None, None)
    inner = logging.Formatter("12:00:00 %(message)s")
    assert NamedLines("job_3", inner).format(record) == "job_3 | 12:00:00 two\njob_3 | lines"


def test_an_interruption_of_the_launcher_is_one_line_and_an_error_keeps_its_traceback(loader, caplog, capsys):
    SweepCheck().on_multirun_start(sweep_of(loader, "prune.ratio=0.25,0.5"))
    with pytest.raises(SystemExit, match="130"):
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [record.message for record in caplog.records] == ["interrupted; the same command goes on"]
    sys.excepthook(ValueError, ValueError("told in full"), None)
    assert "ValueError: told in full" in capsys.readouterr().err


def test_a_warning_is_said_once():
    once = Once()
    levels = (logging.WARNING, logging.WARNING, logging.INFO, logging.INFO)
    said = [once.filter(logging.LogRecord("a", level, "", 0, "the same", None, None)) for level in levels]
    assert said == [True, False, True, True]
    assert once.filter(logging.LogRecord("a", logging.WARNING, "", 0, "another", None, None))


def test_a_code_by_which_a_scheduler_queues_a_job_again_is_kept(monkeypatch):
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create({
        "runtime": {"output_dir": "nowhere"}, "job": {"name": "train", "config_name": "train"}, "mode": "MULTIRUN",
        "sweep": {"subdir": "a"}, "launcher": {"_target_": "its.BasicLauncher"},
    }))  # fmt: skip
    given: int | None
    for given, ends in ((144, 144), (-1, -1), (1, 130), (None, 130)):
        with pytest.raises(SystemExit) as ended:
            job(lambda _: sys.exit(given))(OmegaConf.create({}))  # noqa: B023 - called at once
        assert ended.value.code == ends
