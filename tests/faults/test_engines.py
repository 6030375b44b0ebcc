"""compact.py with all engines, again and again: they bring signal handlers and threads that have ended such runs."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from hydra_det.records.record import read_record, write_record
from tests.faults.launch import ROOT
from tests.faults.scenes import ONE, SMALL_TIMES
from tests.faults.warm import ENVIRONMENT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")]

TIMES = 5
COMPACT = ["run=run", "calibration_images=4", *SMALL_TIMES, "hydra.run.dir=compacted"]
ONE_AFTER_THE_OTHER = """
import json, sys
from tests.faults.launch import run_script
for name, words in json.loads(sys.argv.pop()):
    try:
        run_script(None, name, words)
    except SystemExit as ended:
        if ended.code:
            raise
"""


def done(folder, *given):
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": ROOT}
    return subprocess.run(
        [sys.executable, *given], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )


def assert_all_engines_were_timed(folder, process):
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert not (folder / "compacted" / "failed.txt").exists()
    found = read_record(folder / "run" / "record.json").compaction
    assert found is not None
    names = {"torch", "torch_export", "onnxruntime", "openvino"}
    assert {result["engine"] for result in found["engines"]} == names
    assert {entry["engine"] for entry in found["latency"]} == names


def test_a_network_is_made_small_in_the_process_that_trained_it_and_in_others(tmp_path):
    # Processes that load images leave their owner a handler for the signal that they send when they end.
    loading = ["data.workers=2", "data.cache_images=false"]
    both = json.dumps([("train", [*ONE, *loading]), ("compact", COMPACT)])
    assert_all_engines_were_timed(tmp_path, done(tmp_path, "-c", ONE_AFTER_THE_OTHER, both))
    for _ in range(TIMES):
        record = tmp_path / "run" / "record.json"
        write_record(record, dataclasses.replace(read_record(record), compaction=None))
        assert_all_engines_were_timed(tmp_path, done(tmp_path, f"{ROOT}/compact.py", *COMPACT))
