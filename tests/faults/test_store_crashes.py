"""The store after a crash at every single instant at which its files change."""

import json
import signal
import subprocess
import sys

import pytest

from tests.faults.launch import ROOT
from tests.faults.store_crashes import REFUSALS, REFUSED, STARTS


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    words = [sys.executable, "-m", "tests.faults.store_crashes", str(folder)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout)


def test_every_event_is_tried_until_none_is_left(tried):
    for start in STARTS:
        for refusal in REFUSALS:
            codes = [row["code"] for row in tried if (row["start"], row["refusal"]) == (start, refusal)]
            assert codes[-1] == 0, "beyond the last event nothing happens"
            assert set(codes[:-1]) == {REFUSED if refusal else -signal.SIGKILL}
            assert len(codes) > 8, "of a folder, a lock, four files and a rename"


def test_a_reader_finds_the_whole_stage_or_none_at_every_instant(tried):
    seen = {row["then"] for row in tried if row["start"] != "damaged"}
    assert seen == {"nothing", "whole"}


def test_the_same_work_again_ends_with_the_whole_stage_and_no_scraps(tried):
    for row in tried:
        assert (row["again"], row["at_the_end"], row["left_over"]) == (0, "whole", []), row
