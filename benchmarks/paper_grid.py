"""The jobs of a grid in conf/sweep/ and what each of their stages costs, from the configs and from measured steps.

What two jobs share follows `StageRunner.key` for the paper's five configurations: pretraining depends on the seed and
the images, first scores on how they are made too; from score training on a stage depends on the masks, thus on
granularity and ratio. Other configurations differ in more (hardening, allocation), so grids with them are refused.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from benchmarks.grid_schedule import Job, Work
from benchmarks.measured_steps import StepTimes
from benchmarks.subjects import network
from hydra_det.errors import InputError
from hydra_det.modules.masked_conv import make_masked
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.stages.stage import STAGES

DENSE, PRUNED = "evaluate dense", "evaluate pruned"
KINDS = (*STAGES, DENSE, PRUNED)
SWEPT = ("seed", "configuration", "prune.ratio")
CONFIGURATIONS = ("deeplift_weight", "deeplift_kernel", "scaled_weight", "scaled_kernel", "deeplift_weight_greyscale")
COUNTED = (  # what `stage_seconds` and the number of images look at
    "data.train_images", "trainer.check_val_every_n_epoch", "stage.pretrain.clean_epochs",
    "stage.pretrain.epochs", "stage.train_scores.epochs", "stage.finetune.epochs",
    "stage.pretrain.attacked_share", "stage.train_scores.attacked_share", "stage.finetune.attacked_share",
)  # fmt: skip
PLACES = ("data.root", "model.weights")  # the configs want them; they cost nothing
LISTED = "as the sweep lists them"
ORDERS = {  # which key varies slowest, and so on
    LISTED: SWEPT,
    "seeds fastest": ("prune.ratio", "configuration", "seed"),
}


class Grid(NamedTuple):
    """A sweep.

    Attributes:
        values: of every key that is swept over.
        configs: by configuration, the whole config.
    """

    values: dict[str, list[str]]
    configs: dict[str, Config]


class Images(NamedTuple):
    """How many."""

    train: int
    val: int
    test: int


def expect_counted(overrides: Sequence[str]) -> None:
    """Nothing is typed that the plan would not take into account.

    Raises:
        InputError: something is.
    """
    known = (*SWEPT, *COUNTED, *PLACES)
    for each in OverridesParser.create().parse_overrides(list(overrides)):
        if each.key_or_group not in known or each.is_delete():
            raise InputError(
                f"{each.input_line}: expected {', '.join(known)}, got what the plan does not take into account; leave "
                "it out: for another model, image size or precision measure another file, with benchmarks.stage_times "
                "--model, --image-size or --precision"
            )


def read_grid(sweep: str, overrides: Sequence[str]) -> Grid:
    """A grid over seeds, configurations and ratios from conf/sweep/, with what is typed behind it.

    Args:
        sweep: a file in conf/sweep/.
        overrides: as typed behind train.py; seeds, configurations and ratios take the place of those of the sweep.

    Raises:
        InputError: it is swept over something else, or over other configurations than the paper's.
    """
    parse = OverridesParser.create().parse_overrides
    typed = parse(list(overrides))
    instead = [each for each in typed if each.key_or_group in SWEPT]
    fixed = [str(each.input_line) for each in typed if each not in instead]
    with hydra.initialize_config_dir(build.CONFIG_DIR, version_base="1.3"):
        composed = hydra.compose("train", [f"sweep={sweep}", *fixed], return_hydra_config=True)
        swept = parse([f"{key}={value}" for key, value in composed.hydra.sweeper.params.items()])
        values = {each.key_or_group: _values(each) for each in (*swept, *instead)}
        _expect_papers(sweep, values)
        configs = {
            name: build.plain(hydra.compose("train", [*fixed, f"configuration={name}"]))
            for name in values["configuration"]
        }
    return Grid(values, configs)


def jobs(grid: Grid, seconds: Mapping[str, Mapping[str, float]], *, order: Sequence[str]) -> list[Job]:
    """Every job as its stages in the order in which train.py runs them.

    Args:
        grid: that is planned.
        seconds: by configuration and kind of stage, see `stage_seconds`.
        order: the keys, the one that varies slowest first.
    """
    made = []
    for chosen in itertools.product(*(grid.values[key] for key in order)):
        job = dict(zip(order, chosen, strict=True))
        name = job["configuration"]
        made.append(_stages(grid.configs[name], job, seconds[name]))
    return made


def stage_seconds(config: Config, images: Images, measured: StepTimes) -> dict[str, float]:
    """What each kind of stage takes by the steps that it consists of."""
    an_image = measured.seconds
    both = an_image["evaluate_clean"] + an_image["evaluate_attacked"]
    scored = images.test * (both + 2 * an_image["average_precision"])
    found = dict.fromkeys(KINDS, 0.0)
    for name in ("pretrain", "train_scores", "finetune"):
        kind = "score" if name == "train_scores" else "train"
        spec = config["stage"][name]
        attacked = max(spec["epochs"] - spec.get("clean_epochs", 0), 0) * spec["attacked_share"]
        steps = (spec["epochs"] - attacked) * an_image[f"{kind}_clean"] + attacked * an_image[f"{kind}_attacked"]
        every = config["trainer"]["check_val_every_n_epoch"]
        validations = -(-spec["epochs"] // every)  # the last epoch ends with one
        found[name] = images.train * steps + validations * images.val * both
    # Methods other than DeepLIFT that look at images take less.
    found["init_scores"] = config["init"].get("images", 0) * an_image["deeplift"]
    return found | {DENSE: scored, PRUNED: scored}


def stage_bytes(model: str) -> dict[str, int]:
    """What a finished stage of each kind takes on disk: weights and BatchNorm; of masked ones scores and masks too."""
    net = network(model)
    dense = _state_bytes(net.state_dict().values())
    masked = _state_bytes(make_masked(net).state_dict().values())
    return {name: dense if name == "pretrain" else masked for name in STAGES}


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(map(str, override.sweep_string_iterator()))
    return [override.get_value_element_as_str()]


def _expect_papers(sweep: str, values: Mapping[str, Sequence[str]]) -> None:
    """What `_stages` can tell apart."""
    if set(values) != set(SWEPT):
        raise InputError(
            f"sweep {sweep}: expected a sweep over {', '.join(SWEPT)}, got one over {', '.join(sorted(values))}; plan "
            "another one, e.g. paper_grid"
        )
    if others := [name for name in values["configuration"] if name not in CONFIGURATIONS]:
        raise InputError(
            f"sweep {sweep}: expected configurations among {', '.join(CONFIGURATIONS)}, got {', '.join(others)}; name "
            "some of the former with configuration=..."
        )


def _stages(config: Config, job: Mapping[str, str], seconds: Mapping[str, float]) -> Job:
    images = "greyscale" if config["data"]["greyscale"] else "colour"
    pretrained = f"pretrain {images} {job['seed']}"
    initialised = f"init_scores {config['init']['_target_']} after {pretrained}"
    own = f"{config['prune']['granularity']} {job['prune.ratio']} after {initialised}"
    return [
        Work(pretrained, seconds["pretrain"]),
        Work(initialised, seconds["init_scores"], pretrained),
        Work(f"train_scores {own}", seconds["train_scores"], initialised),
        Work(f"prune {own}", seconds["prune"], f"train_scores {own}"),
        Work(f"finetune {own}", seconds["finetune"], f"prune {own}"),
        Work(f"{DENSE} after {pretrained}", seconds[DENSE], pretrained),
        Work(f"{PRUNED} {own}", seconds[PRUNED], f"finetune {own}"),
    ]


def _state_bytes(tensors: Iterable[Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
