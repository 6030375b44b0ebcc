"""Two runs of one seed are one result."""

import dataclasses
import random

import numpy as np
import pytest
import torch

from hydra_det.pipeline.stages.stage import STAGES
from tests.pipeline.tiny import run

RANDOM = ("attack.random_start=true", "data.mosaic=0.5", "data.colour_jitter=0.3", "init=deeplift", "prune.ratio=0.5")


def result(folder, *further):
    """All that a run computes: the weights of every stage, and its record without times."""
    record = run(folder, *RANDOM, *further)
    stages = {name: (folder / "run" / "stages" / name / "weights.safetensors").read_bytes() for name in STAGES}
    computed = dataclasses.asdict(record)
    return stages, {key: computed[key] for key in ("metrics", "sparsity", "sizes", "dataset", "attack")}


def unsettle():
    """What other code of the same process may have done before."""
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    torch.rand(5)


@pytest.mark.slow
def test_one_seed_is_one_result_whatever_else_draws_and_whoever_loads_the_images(tmp_path):
    first = result(tmp_path / "first")
    unsettle()
    second = result(tmp_path / "second", "data.workers=2", "data.cache_images=false")
    assert first[0] == second[0]
    assert first[1] == second[1]
    other, _ = result(tmp_path / "other", "seed=1")
    assert all(first[0][name] != other[name] for name in STAGES)


@pytest.mark.gpu
def test_on_a_gpu_one_seed_is_one_result_where_that_is_asked_for(tmp_path):
    asked = ("trainer.accelerator=gpu", "trainer.deterministic=true")
    try:
        first, second = (result(tmp_path / name, *asked) for name in ("first", "second"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert first[0] == second[0]
    assert first[1] == second[1]
