"""A finished run is opened as it was written, or refused."""

import json
import shutil

import pytest

from hydra_det.errors import InputError
from hydra_det.finished.run import FinishedRun
from tests.pipeline.tiny import run


@pytest.fixture
def copied(finished, tmp_path):
    """A folder with the record and the config of a finished run."""
    for name in ("record.json", "config.yaml"):
        shutil.copy(finished / "run" / name, tmp_path / name)
    return tmp_path


def change_one_digit(folder):
    record = json.loads((folder / "record.json").read_text())
    record["metrics"]["pruned"]["clean"]["coco"]["map"] = 0.99
    (folder / "record.json").write_text(json.dumps(record))


def test_a_run_with_a_changed_record_is_not_opened(copied):
    assert FinishedRun(copied).record.seed == 0
    change_one_digit(copied)
    with pytest.raises(InputError, match=r"record\.json: sha256: expected"):
        FinishedRun(copied)


def test_a_changed_record_is_said_and_made_anew(finished, caplog):
    folder = finished / "run"
    kept = (folder / "record.json").read_bytes()
    before = json.loads(kept)["metrics"]
    change_one_digit(folder)
    again = run(finished, "prune.ratio=0.75")
    assert "record.json: sha256: expected" in caplog.text
    assert json.loads((folder / "record.json").read_text())["metrics"] == before == again.metrics
    (folder / "record.json").write_bytes(kept)  # that of a run whose stages were trained, as other tests expect it
