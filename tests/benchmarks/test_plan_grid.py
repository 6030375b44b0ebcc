"""A plan of a grid against schedules worked out by hand, and what jobs share against the store's fingerprints."""

import argparse
import re
import sys
from pathlib import Path

import pytest

from benchmarks.command import Command
from benchmarks.grid_schedule import (
    Job,
    Schedule,
    Work,
    critical_path,
    different,
    shared_seconds,
    simulate,
    simulate_in_two,
    unshared_seconds,
)
from benchmarks.measured_steps import KINDS as STEPS
from benchmarks.measured_steps import StepTimes, add, read
from benchmarks.paper_grid import (
    CONFIGURATIONS,
    COUNTED,
    DENSE,
    ORDERS,
    PRUNED,
    Grid,
    Images,
    jobs,
    read_grid,
    stage_bytes,
    stage_seconds,
)
from benchmarks.plan_grid import BEGIN, END, command, main, replaced
from benchmarks.power_law import exponent
from hydra_det.errors import InputError
from hydra_det.pipeline.plan import plan_stages
from hydra_det.pipeline.stages.stage import STAGES


def chain(*works: tuple[str, float], beside: Work | None = None) -> Job:
    """Stages that each need the one before, and one more that needs the first."""
    needs = [None, *(key for key, _ in works)]
    made = [Work(key, seconds, before) for (key, seconds), before in zip(works, needs, strict=False)]
    return [*made, *([beside] if beside else [])]


# Two jobs share 10 s and each has 3 s of its own; the third shares nothing and takes 4 s.
THREE = [chain(("a", 10), ("b", 3)), chain(("a", 10), ("c", 3)), chain(("d", 4))]


def test_one_worker_does_every_stage_once() -> None:
    assert simulate(THREE, 1) == Schedule(end=20, held=20, waited=0)
    assert shared_seconds(THREE) == 20
    assert unshared_seconds(THREE) == 13 + 13 + 4
    assert len(different(THREE)) == 4


def test_two_workers_wait_for_a_shared_stage() -> None:
    # The second worker waits 10 s for `a`; both are free at 13 s, and one of them takes the third job.
    assert simulate(THREE, 2) == Schedule(end=17, held=17 + 13, waited=10)


def test_jobs_that_share_nothing_come_first_in_another_order() -> None:
    # The second worker does `d` while the first is at `a`, comes to the third job at 4 s and waits 6 s.
    assert simulate([THREE[0], THREE[2], THREE[1]], 2) == Schedule(end=13, held=26, waited=6)


def test_many_workers_take_as_long_as_the_longest_chain() -> None:
    assert critical_path(THREE) == 13
    assert simulate(THREE, 50).end == 13
    assert simulate(THREE, 50).held == 13 + 13 + 4  # those without a job hold nothing


def test_two_commands_begin_with_what_others_wait_for() -> None:
    # a, b beside d on two workers end at 13 s; c is left. Nobody waits for anybody.
    assert simulate_in_two(THREE, 2) == Schedule(end=13 + 3, held=13 + 4 + 3, waited=0)


def test_a_stage_beside_the_chain_does_not_lengthen_it() -> None:
    job = chain(("a", 10), ("b", 3), ("c", 1), beside=Work("e", 2, "a"))
    assert critical_path([job]) == 14
    assert simulate([job], 1).end == 16


def test_no_jobs_take_no_time() -> None:
    assert simulate([], 3) == Schedule(0, 0, 0)
    assert critical_path([]) == 0


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
def test_no_schedule_beats_its_bounds(grid: Grid, workers: int, order: tuple[str, ...]) -> None:
    made = jobs(grid, dict.fromkeys(grid.configs, COSTS), order=order)
    done = simulate(made, workers)
    assert done.end >= max(shared_seconds(made) / workers, critical_path(made)) - 1e-6
    assert done.held == pytest.approx(shared_seconds(made) + done.waited)


COSTS = {
    "pretrain": 100.0,
    "init_scores": 2.0,
    "train_scores": 30.0,
    "prune": 1.0,
    "finetune": 60.0,
    DENSE: 5.0,
    PRUNED: 5.0,
}
MEASURED = StepTimes(
    device="a device",
    threads=1,
    load=0.0,
    torch="2.10",
    model="yolov3",
    image_size=416,
    batch=2,
    precision="float32",
    rounds=3,
    command="benchmarks.stage_times",
    clock="seconds on the clock",
    # Different powers of ten, so that a sum says what was counted how often.
    seconds=dict(zip(STEPS, (1, 10, 100, 1000, 1e-3, 1e-2, 1e4, 1e-4), strict=True)),
)


PAPER = ["experiment=paper", "data.root=coco", "model.weights=yolov3.weights"]


@pytest.fixture(scope="module")
def grid() -> Grid:
    return read_grid("paper_grid", PAPER)


def test_the_papers_grid_has_as_many_stages_as_its_sweep_says(grid: Grid) -> None:
    made = jobs(grid, dict.fromkeys(grid.configs, COSTS), order=("seed", "configuration", "prune.ratio"))
    found = different(made)
    assert len(made) == 5 * 9 * 10
    assert set(grid.configs) == set(CONFIGURATIONS)
    count = {kind: sum(key.startswith(f"{kind} ") for key in found) for kind in COSTS}
    assert count == {
        "pretrain": 10 * 2,  # in colour and in grey
        "init_scores": 10 * 3,  # two ways in colour, one in grey
        "train_scores": 450,
        "prune": 450,
        "finetune": 450,
        DENSE: 20,
        PRUNED: 450,
    }
    assert shared_seconds(made) == 20 * 100 + 30 * 2 + 450 * (30 + 1 + 60 + 5) + 20 * 5
    assert critical_path(made) == 100 + 2 + 30 + 1 + 60 + 5


def test_jobs_share_what_the_store_says_they_share(tmp_path: Path) -> None:
    drawn = ["experiment=smoke", f"data.root={tmp_path}", f"store={tmp_path / 'store'}"]
    grid = read_grid("smoke_grid", drawn)
    command = Command(drawn)
    few = Grid({"seed": ["0", "1"], "configuration": list(grid.configs), "prune.ratio": ["0.5", "0.9"]}, grid.configs)
    order = ("seed", "configuration", "prune.ratio")
    names: dict[str, str] = {}
    for number, job in enumerate(jobs(few, dict.fromkeys(grid.configs, COSTS), order=order)):
        seed, configuration, ratio = number // 10, list(grid.configs)[number // 2 % 5], ("0.5", "0.9")[number % 2]
        if seed and ratio == "0.9":
            continue  # says nothing new, and every config takes its time
        runner = command.runner(f"seed={seed}", f"configuration={configuration}", f"prune.ratio={ratio}")
        for work, planned in zip(job[: len(STAGES)], plan_stages(runner), strict=True):
            assert work.key.startswith(f"{planned.name} ")
            assert names.setdefault(work.key, planned.key) == planned.key
    assert len(set(names.values())) == len(names)


def test_a_stage_costs_the_steps_of_its_epochs(grid: Grid) -> None:
    found = stage_seconds(grid.configs["deeplift_weight"], Images(train=1000, val=7, test=5), MEASURED)
    validation = 7 * (0.001 + 0.01)
    # 10 epochs, half of their batches attacked, validations after 3, 6, 9 and 10; 4 epochs, after 3 and 4.
    assert found["pretrain"] == pytest.approx(1000 * (5 * 1 + 5 * 10) + 4 * validation)
    assert found["finetune"] == found["pretrain"]
    assert found["train_scores"] == pytest.approx(1000 * (2 * 100 + 2 * 1000) + 2 * validation)
    assert found["init_scores"] == 64 * 10_000
    assert found[DENSE] == found[PRUNED] == pytest.approx(5 * (0.001 + 0.01 + 2 * 0.0001))
    assert found["prune"] == 0
    assert stage_seconds(grid.configs["scaled_kernel"], Images(1, 1, 1), MEASURED)["init_scores"] == 0


def test_clean_epochs_are_not_attacked(grid: Grid) -> None:
    config = grid.configs["deeplift_weight"]
    changed = {**config, "stage": {**config["stage"], "pretrain": {**config["stage"]["pretrain"], "clean_epochs": 4}}}
    found = stage_seconds(changed, Images(train=1000, val=0, test=0), MEASURED)
    assert found["pretrain"] == pytest.approx(1000 * (7 * 1 + 3 * 10))
    changed["stage"]["pretrain"]["clean_epochs"] = 11  # of 10
    assert stage_seconds(changed, Images(train=1000, val=0, test=0), MEASURED)["pretrain"] == pytest.approx(10_000)


def test_what_may_be_typed_counts() -> None:
    typed = {
        "data.train_images": 77, "trainer.check_val_every_n_epoch": 2,
        "stage.pretrain.epochs": 6, "stage.pretrain.clean_epochs": 2, "stage.pretrain.attacked_share": 0.75,
        "stage.train_scores.epochs": 1, "stage.train_scores.attacked_share": 0.25,
        "stage.finetune.epochs": 5, "stage.finetune.attacked_share": 0.2,
    }  # fmt: skip
    assert set(typed) == set(COUNTED)
    swept = ["seed=3", "configuration=deeplift_weight", "prune.ratio=0.5,0.9"]
    grid = read_grid("paper_grid", [*PAPER, *swept, *(f"{key}={value}" for key, value in typed.items())])
    assert grid.values == {"seed": ["3"], "configuration": ["deeplift_weight"], "prune.ratio": ["0.5", "0.9"]}
    config = grid.configs["deeplift_weight"]
    assert config["data"]["train_images"] == 77
    found = stage_seconds(config, Images(train=1000, val=7, test=5), MEASURED)
    validation = 7 * (0.001 + 0.01)
    assert found["pretrain"] == pytest.approx(1000 * (3 * 1 + 3 * 10) + 3 * validation)
    assert found["train_scores"] == pytest.approx(1000 * (0.75 * 100 + 0.25 * 1000) + validation)
    assert found["finetune"] == pytest.approx(1000 * (4 * 1 + 1 * 10) + 3 * validation)


@pytest.mark.parametrize(
    "typed",
    [
        "model=yolov3_nano",
        "data.image_size=64",
        "attack.steps=1",
        "hardening=fast",
        "trainer.precision=bf16-mixed",
        "stage.prune.epochs=3",
        "~stage.pretrain.epochs",
    ],
)
def test_what_would_not_count_is_refused(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["plan_grid", "times.json", "stage.pretrain.epochs=5", typed])
    with pytest.raises(SystemExit, match=rf"^error: {re.escape(typed)}: expected .*stage\.pretrain\.epochs") as ended:
        main()
    assert "\n" not in str(ended.value)


@pytest.mark.parametrize(
    ("sweep", "reason"),
    [
        (
            "replication",
            "got clean_pretraining, recommended, recommended_deeplift, recommended_kernel, hybrid_masks, "
            "pgd_hardening;",
        ),
        ("optuna_front", "got one over init, prune.allocation, prune.ratio;"),
    ],
)
def test_a_sweep_whose_stages_are_not_told_apart_is_refused(sweep: str, reason: str) -> None:
    if sweep == "optuna_front":
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    with pytest.raises(InputError, match=rf"^sweep {sweep}: expected .*{re.escape(reason)}"):
        read_grid(sweep, PAPER)


def test_the_command_of_a_plan_makes_it_again() -> None:
    options = argparse.Namespace(
        times=Path("times.json"),
        sweep="smoke_grid",
        experiment="paper",
        workers=[4, 16],
        val_images=1000,
        test_images=77,
        write=Path("page.md"),
    )
    assert command(options, ["seed=1"]) == (
        "python -m benchmarks.plan_grid times.json seed=1 --sweep smoke_grid --workers 4 16 --test-images 77"
    )


def test_masked_stages_hold_a_score_of_four_bytes_and_a_mask_of_one_for_every_weight() -> None:
    found = stage_bytes("yolov3")
    convolutions = 61_895_776  # weights of the 75 convolutions at 80 classes
    assert found["prune"] - found["pretrain"] == 5 * convolutions
    assert 4 * 61_949_149 <= found["pretrain"] < 4 * 61_949_149 * 1.002  # its parameters, and BatchNorm's statistics


def test_exponents_of_power_laws() -> None:
    sizes = [32, 64, 100, 300]
    assert exponent(sizes, [7 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [3.0] * 4) == pytest.approx(0)


def test_a_measurement_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    other = StepTimes(**{**vars(MEASURED), "precision": "bf16-mixed"})
    again = StepTimes(**{**vars(MEASURED), "rounds": 9})
    for measured in (MEASURED, other, again):
        add(file, measured)
    assert {(one.precision, one.rounds) for one in read(file)} == {("float32", 9), ("bf16-mixed", 3)}


@pytest.mark.parametrize("content", ["", "[]", '{"measured": [{}]}', '{"measured": [{"device": "x"}]}'])
def test_a_file_that_is_no_measurement_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "times.json").write_text(content)
    with pytest.raises(InputError, match=r"times\.json: expected measurements, got"):
        read(tmp_path / "times.json")


def test_a_measurement_without_a_kind_is_refused() -> None:
    with pytest.raises(InputError, match="got none for deeplift"):
        StepTimes(**{**vars(MEASURED), "seconds": {**MEASURED.seconds, "deeplift": 0.0}})


def test_a_page_keeps_what_stands_around_the_marks() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = replaced(page, "new", name="page")
    assert once == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert replaced(once, "new", name="page") == once


@pytest.mark.parametrize("page", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_its_marks_is_refused(page: str) -> None:
    with pytest.raises(InputError, match="page: expected the marks"):
        replaced(page, "new", name="page")
