"""Values of a config that are wrong, a row each: `check` names the key and says what was expected."""

import copy
import functools
from typing import Any, NamedTuple

import pytest

from hydra_det.errors import InputError
from hydra_det.pipeline.check import check
from hydra_det.sweeps.check import check_search
from tests.pipeline.tiny import compose


class Row(NamedTuple):
    """A dotted key, what is put there, and what the message must contain besides the key."""

    key: str
    value: Any
    said: str


ROWS = (
    Row("seed", -1, "a whole number of at least 0, got -1"),
    Row("seed", "1", "a whole number of at least 0, got '1'"),
    Row("seed", True, "a whole number of at least 0, got True"),
    Row("seed", 1.5, "a whole number of at least 0, got 1.5"),
    Row("sed", 1, "did you mean seed?"),
    Row("expriment", "smoke", "did you mean experiment?"),
    Row("a\nb", 1, "expected one of seed"),
    Row("store", __file__, "is a file; give another one"),
    Row("checkpoint_minutes", -1, "a number of at least 0, got -1"),
    Row("checkpoint_minutes", "often", "a number of at least 0, got 'often'"),
    Row("stage.pretrain.epochs", -3, "a whole number of at least 0, got -3"),
    Row("stage.pretrain.epochs", None, "a whole number of at least 0, got None"),
    Row("stage.pretrain.epoch", 3, "did you mean epochs?"),
    Row("stage.pretran", {}, "did you mean pretrain?"),
    Row("evaluation.bootstrap", "many", "a whole number of at least 0, got 'many'"),
    Row("evaluation.latency.repeats", 0, "a whole number of at least 1, got 0"),
    Row("evaluation.latency.confidence", 50, r"expected a number in [0.001, 1], got 50"),
    Row("evaluation.latency.device", "tpu", "expected auto or cpu, got tpu"),
    Row("prune.ratio", 1.5, "1.5"),
    Row("prune.ratio", 75, "got 75; did you mean 0.75?"),
    Row("prune.ratio", "half", "half"),
    Row("prune.granularity", "atom", "atom"),
    Row("prune.raito", 0.5, "did you mean ratio?"),
    Row("attack.epsilon", -1, "epsilon"),
    Row("attack.epsilon", "much", "epsilon"),
    Row("attack.epsilon", 8, "8; did you mean 0.0314?"),
    Row("attack.epsilon", "8/255", "'8/255'; did you mean 0.0314?"),
    Row("attack.steps", 0, "steps"),
    Row("attack.step", 5, "did you mean steps?"),
    Row("attack.objective", "beauty", "beauty"),
    Row("attack._target_", "hydra_det.attacks.Nothing", "Error loading 'hydra_det.attacks.Nothing'"),
    Row("trainer.max_epochs", 5, "expected nothing, as the pipeline sets it, got 5"),
    Row("trainer.fast_dev_run", True, "expected nothing, as the pipeline sets it"),
    Row("trainer.inference_mode", True, "expected false, got true"),
    Row("trainer.precision", "16-true", "got 16-true"),
    Row("trainer.limit_test_batches", 2, "expected 1.0, got 2"),
    Row("trainer.acelerator", "cpu", "did you mean accelerator?"),
    Row("target.map_attacked", 2, "an AP in (0, 1], got 2"),
    Row("target.map_attacked", "high", "an AP in (0, 1], got high"),
    Row("target.trials", 1, "a whole number of at least 2, got 1"),
    Row("objectives", ["beauty"], "expected a list of some of map_clean"),
    Row("objectives", ["megabytes", "megabytes"], "expected a list of some of map_clean"),
)


@functools.cache
def composed() -> dict[str, Any]:
    return compose(["data=shapes"])


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.key!r}={str(row.value)[-12:]!r}" for row in ROWS])
def test_a_config_is_refused(row):
    config = copy.deepcopy(composed())
    *parents, last = row.key.split(".")
    part = config
    for parent in parents:
        part = part[parent]
    part[last] = row.value
    with pytest.raises(InputError) as found:
        check_all(config)
    said = str(found.value)
    assert said.isprintable(), f"not one line: {said!r}"
    assert row.said in said
    assert " ".join(last.split()) in said or last == "_target_"


def test_the_config_itself_is_accepted():
    check(copy.deepcopy(composed()))


def check_all(config: dict[str, Any]) -> None:
    """What a run is refused for, and what a search is."""
    check(config)
    check_search(config)
