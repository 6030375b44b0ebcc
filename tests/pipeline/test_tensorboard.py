"""What TensorBoard itself makes of the folders of runs: names, curves, and the table of hyperparameters."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS

from hydra_det.callbacks.watching.progress import EpochLine
from hydra_det.pipeline.stages.stage import STAGES
from hydra_det.pipeline.tensorboard import write_result
from hydra_det.records.record import read_record
from tests.pipeline.tiny import run

NAMES = ["logs/1_pretrain", "logs/2_init_scores", "logs/3_train_scores", "logs/4_prune", "logs/5_finetune"]


def names_below(folder: Path) -> set[str]:
    """As the command line of TensorBoard finds them."""
    found = EventMultiplexer()
    found.AddRunsFromDirectory(str(folder))
    return set(found.Reload().Runs())


def result_of(folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Hyperparameters and metrics of a run, as the plugin of TensorBoard reads them."""
    log = EventAccumulator(str(folder / "logs" / "result")).Reload()
    contents = log.PluginTagToContent(metadata.PLUGIN_NAME)
    start = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    told = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    end = metadata.parse_session_end_info_plugin_data(contents[metadata.SESSION_END_INFO_TAG])
    assert end.status == STATUS_SUCCESS
    assert metadata.EXPERIMENT_TAG not in contents, "the columns are those of all runs, not of the first one"
    return told, {name: log.Scalars(name)[-1].value for name in log.Tags()["scalars"]}


def test_runs_are_named_by_folder_and_stage_and_shown_once(finished, tmp_path):
    expected = {*NAMES, "logs/result"}
    assert names_below(finished / "run") == expected
    for name in ("one", "two"):  # as in the folder of a sweep; links stay links
        shutil.copytree(finished / "run", tmp_path / "sweep" / name, symlinks=True)
        for number, stage in enumerate(STAGES, start=1):
            link = tmp_path / "sweep" / name / "logs" / f"{number}_{stage}"
            link.unlink()
            link.symlink_to((finished / "run" / "logs" / f"{number}_{stage}").resolve())
    assert names_below(tmp_path / "sweep") == {f"{run}/{name}" for run in ("one", "two") for name in expected}


def test_the_table_shows_what_was_chosen_and_what_came_out(finished):
    told, found = result_of(finished / "run")
    assert told == {
        "data": "shapes", "model": "yolov3_tiny", "init": "scaled", "hardening": "attacked", "granularity": "weight",
        "allocation": "uniform", "ratio": 0.75, "greyscale": "no", "attack": "pgd", "epsilon": 0.05, "seed": 0,
        "epochs_pretrain": 3, "epochs_train_scores": 2, "epochs_finetune": 2,
    }  # fmt: skip
    record: Any = read_record(finished / "run" / "record.json")
    expected = {"test/sparsity": record.sparsity["pruned"] / record.sparsity["total"]}
    for group, network in (("test", "pruned"), ("test_dense", "dense")):
        for suffix, condition in (("", "clean"), ("_attacked", "attacked")):
            scores = record.metrics[network][condition]["coco"]
            expected |= {f"{group}/map{suffix}": scores["map"], f"{group}/map_50{suffix}": scores["map_50"]}
    for shown, network in (("dense", "dense"), ("masked", "pruned"), ("compact", "compact")):
        expected[f"test_cost/latency_ms_{shown}"] = record.latency[network]["total"]["median_ms"]
        expected[f"test_cost/megabytes_{shown}"] = record.sizes[network]["file_bytes"] / 1e6
    assert found == pytest.approx(expected, rel=1e-6)
    assert {name.partition("/")[0] for name in sorted(found)[:5]} == {"test"}, "the first five are shown at once"


def files(folder: Path) -> list[Path]:
    return sorted((folder / "logs" / "result").iterdir())


def test_a_run_has_one_row_and_keeps_it_until_it_is_done_anew(finished):
    words = ["evaluation.attack={_target_:hydra_det.attacks.no_attack}"]
    run(finished, "prune.ratio=0.75", *words, name="row")
    folder = finished / "row"
    (first,) = files(folder)
    written = first.read_bytes()
    run(finished, "prune.ratio=0.75", *words, name="row")
    assert files(folder) == [first], "the same command adds nothing"
    assert first.read_bytes() == written
    write_result(folder, read_record(folder / "record.json"))
    assert len(files(folder)) == 1, "what is written again is written in its place"
    told, found = result_of(folder)
    assert (told["ratio"], told["attack"], told["epsilon"]) == (0.75, "none", 0)
    assert not [name for name in found if "attacked" in name], "nothing was attacked"

    run(finished, "prune.ratio=0.5", "data.greyscale=true", *words, name="row")
    assert len(files(folder)) == 1
    told, found = result_of(folder)
    assert (told["ratio"], told["greyscale"]) == (0.5, "yes")
    assert found["test/sparsity"] == pytest.approx(0.5, abs=1e-3)


def test_a_run_that_fails_shows_its_stages_but_no_result_of_an_earlier_one(finished, tmp_path, monkeypatch):
    shutil.copytree(finished / "run", tmp_path / "run", symlinks=True)
    start = EpochLine.on_train_epoch_start
    seen = []

    def stop(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.name == "pretrain" and trainer.current_epoch == 1:
            seen.append((tmp_path / "run" / "logs" / "1_pretrain").resolve())
            raise RuntimeError("pulled the plug")
        start(self, trainer, module)

    monkeypatch.setattr(EpochLine, "on_train_epoch_start", stop)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        run(tmp_path, "seed=5")
    (logs,) = seen
    assert logs.parent.suffix == ".partial", "a stage is shown while it is trained"
    assert names_below(tmp_path / "run") == {"logs/1_pretrain"}


def test_stages_hold_links_to_the_files_of_the_store(finished):
    for stage in STAGES:
        folder = finished / "run" / "stages" / stage
        assert {path.name for path in folder.iterdir()} == {"stage.json", "weights.safetensors"}
        for path in folder.iterdir():
            assert path.is_symlink()
            assert path.resolve().parent.parent == (finished / "store").resolve()
