"""What lies in the folder of a run.

    config.yaml  images.json    what went in
    stages/<stage>/             links to what each stage left in the store
    logs/                       what TensorBoard finds: `board`
    record.json                 what came out

What an earlier run left there stays if it was this very run, and else goes before anything is trained.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.rank_zero import rank_zero_only

from hydra_det.compaction.files import COMPACT
from hydra_det.files.atomic import TEMPORARY, write_atomically
from hydra_det.pipeline import build, tensorboard
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.stages.stage import LOGS, Stage
from hydra_det.records.added import without_added
from hydra_det.records.record import RECORD_NAME, Record, RecordError, read_record, write_record
from hydra_det.store.links import link_content

log = logging.getLogger(__name__)


def earlier_record(folder: Path, asked: Config, *, but: Sequence[str] = ()) -> Record | None:
    """The record in a folder, if its config is the one that is asked for, except for some keys."""
    if not (folder / RECORD_NAME).is_file():
        return None
    try:
        record = read_record(folder / RECORD_NAME)
    except RecordError as error:
        log.warning("%s", error)
        return None
    return record if _text(asked, but) == _text(record.config, but) else None


@rank_zero_only
def remove_stale(folder: Path) -> None:
    """A folder whose run fails must not hold the record of an earlier run, nor what compact.py made of it."""
    (folder / RECORD_NAME).unlink(missing_ok=True)
    shutil.rmtree(folder / COMPACT, ignore_errors=True)
    shutil.rmtree(folder / tensorboard.FOLDER, ignore_errors=True)
    for half in folder.glob(f".*{TEMPORARY}"):  # of a process that was killed
        half.unlink(missing_ok=True)


@rank_zero_only
def write_inputs(folder: Path, config: Config, images: Mapping[str, Any]) -> None:
    """Write the whole config, and the ids of the images of every split."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.yaml", build.to_yaml(config))
    write_atomically(folder / "images.json", json.dumps(images) + "\n")


@rank_zero_only
def show_finished(folder: Path, number: int, stage: Stage) -> None:
    """Show what a stage left; `number` is its place in the run, from 1.

    TensorBoard would find its logs twice, were they among the links as well.
    """
    link_content(stage.folder, folder / "stages" / stage.name, but=LOGS)
    tensorboard.show_stage(folder, number, stage.name, stage.folder / LOGS)


@rank_zero_only
def write_result(folder: Path, record: Record) -> None:
    """Write the record, and before it what TensorBoard shows of it."""
    tensorboard.write_result(folder, record)
    write_record(folder / RECORD_NAME, record)


def _text(config: Config, but: Sequence[str]) -> str:
    """A config as it compares; whether a run is dry says nothing of its result."""
    compared = {key: config[key] for key in config if key not in (*but, "dry_run")}
    return json.dumps(without_added(compared), sort_keys=True)
