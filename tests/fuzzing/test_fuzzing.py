"""Whatever is in a file, its reader answers or says in one line what is wrong."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzzing.mutations import spoil
from tests.fuzzing.readers import READERS, complaint

# Readers that build a network, compose a config or decode a film take a tenth of a second for an input.
SLOW = {"compact": 10, "compact_weights": 5, "run_config": 8, "video": 15, "darknet": 10, "weights": 10}
QUICK, LONG = 60, 3000  # inputs of a reader
CHANGES = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4)  # a seed a change


@pytest.mark.parametrize("name", READERS)
def test_the_example_itself_is_read(name, tmp_path):
    READERS[name].prepare(tmp_path)
    assert complaint(name, tmp_path) is None


def answers_or_complains(name, folder, examples):
    reader = READERS[name]
    reader.prepare(folder)
    valid = (folder / reader.file).read_bytes()
    there = {path for path in folder.rglob("*") if not path.name.startswith(".")}

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(CHANGES)
    def check(seeds):
        content = valid
        for seed in seeds:
            content = spoil(content, Random(seed))
        (folder / reader.file).write_bytes(content)
        complaint(name, folder)

    check()
    assert {path for path in folder.rglob("*") if not path.name.startswith(".")} == there, "something was left behind"


@pytest.mark.parametrize("name", READERS)
def test_a_spoilt_file_is_answered_or_refused_in_one_line(name, tmp_path):
    answers_or_complains(name, tmp_path, SLOW.get(name, QUICK))


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_spoilt_files_are_answered_or_refused_in_one_line(name, tmp_path):
    answers_or_complains(name, tmp_path, SLOW.get(name, QUICK) * LONG // QUICK)
