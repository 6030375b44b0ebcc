"""What does the paper's grid cost on 1, 8 and 64 GPUs: stages, hours, the longest chain, storage?

python -m benchmarks.plan_grid docs/stage_times.json
python -m benchmarks.plan_grid docs/stage_times.json --write docs/planning.md
python -m benchmarks.plan_grid docs/stage_times.json stage.pretrain.epochs=5 --workers 4 16

Seconds an image come from the file that `benchmarks.stage_times` wrote, so model, image size, batch, precision and the
attack (PGD-5) are those that were measured, whatever the configs say; images are COCO's. Taken from the configs, and
from overrides as for train.py: `stage.*.epochs` and `.attacked_share` of the three stages that train,
`stage.pretrain.clean_epochs`, `trainer.check_val_every_n_epoch`, `data.train_images`, and `seed`, `configuration` and
`prune.ratio` of the sweep. Other overrides are refused, and so are sweeps with other configurations than the paper's
five. `--write` replaces what stands between the two marks of a page.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hydra.errors import HydraException

from benchmarks.grid_schedule import (
    Job,
    critical_path,
    different,
    shared_seconds,
    simulate,
    simulate_in_two,
    unshared_seconds,
)
from benchmarks.measured_steps import StepTimes, read
from benchmarks.paper_grid import (
    KINDS,
    LISTED,
    ORDERS,
    PLACES,
    Grid,
    Images,
    expect_counted,
    jobs,
    read_grid,
    stage_bytes,
    stage_seconds,
)
from hydra_det.errors import InputError
from hydra_det.files.atomic import write_atomically

BEGIN, END = "<!-- begin: written by benchmarks.plan_grid -->", "<!-- end -->"
PRETRAINED_FIRST = "a job of every pretraining first"
ALL_IMAGES = 117_266  # of COCO's train2017, those with objects


def main() -> None:
    """Print the plan as Markdown, or write it into a page."""
    options, overrides = _options()
    try:
        plan(options, overrides)
    except (InputError, HydraException) as error:
        sys.exit("error: " + " ".join(str(error).split()))


def plan(options: argparse.Namespace, overrides: Sequence[str]) -> None:
    """What `main` does; what the user got wrong is raised."""
    expect_counted(overrides)
    grid = read_grid(options.sweep, [f"experiment={options.experiment}", *(f"{key}=x" for key in PLACES), *overrides])
    text = "\n".join([f"`{command(options, overrides)}`\n", *_plan(grid, read(options.times), options)])
    if options.write is None:
        print(text)
    else:
        write_atomically(options.write, replaced(options.write.read_text(), text, name=str(options.write)))


def command(options: argparse.Namespace, overrides: Sequence[str]) -> str:
    """What prints the same plan: overrides and what is not as usual."""
    usual = vars(_parser().parse_args([str(options.times)])) | {"write": options.write}
    words = ["python -m benchmarks.plan_grid", str(options.times), *overrides]
    for name, value in vars(options).items():
        if value != usual[name]:
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return " ".join(words)


def replaced(page: str, text: str, *, name: str) -> str:
    """A page with other text between its two marks.

    Raises:
        InputError: the marks are not there, once each and in their order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise InputError(f"{name}: expected the marks {BEGIN!r} and {END!r} once each, in this order; put them back")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _plan(grid: Grid, measured: Sequence[StepTimes], options: argparse.Namespace) -> Iterator[str]:
    config = next(iter(grid.configs.values()))
    chosen = config["data"]["train_images"] or ALL_IMAGES - options.val_images
    counts = {
        f"{chosen:,} training images, as the recipe says": Images(chosen, options.val_images, options.test_images),
        f"{ALL_IMAGES - options.val_images:,} training images, all of COCO's but those for validation": Images(
            ALL_IMAGES - options.val_images, options.val_images, options.test_images
        ),
    }
    yield from _stages(grid, measured[0], Images(chosen, options.val_images, options.test_images))
    for one in measured:
        yield f"\n### {one.title}\n"
        about = f"medians of {one.rounds} rounds, {one.clock}; torch {one.torch}, load {one.load}"
        yield f"Measured by `{one.command}`, {about}:\n"
        yield "| ms an image | |\n|---|---|"
        for kind, seconds in one.seconds.items():
            yield f"| {kind.replace('_', ' ')} | {seconds * 1000:,.1f} |"
        for what, images in counts.items():
            yield f"\n{what[0].upper()}{what[1:]}, {images.val:,} for validation and {images.test:,} for the test:\n"
            yield from _hours(grid, one, images, options.workers)


def _stages(grid: Grid, measured: StepTimes, images: Images) -> Iterator[str]:
    """How many stages of each kind there are, and what they take on disk."""
    made = _jobs(grid, measured, images, LISTED)
    size = stage_bytes(measured.model)
    found = _by_kind(made)
    yield f"{len(made)} networks. Bytes are those of {measured.model} (80 classes):\n"
    yield "| stage | without sharing | with sharing | a stage, GB | all, GB |\n|---|---|---|---|---|"
    total = 0.0
    for kind in KINDS:
        count, each = len(found[kind]), size.get(kind)
        total += count * (each or 0)
        cells = ["", ""] if each is None else [f"{each / 1e9:.2f}", f"{count * each / 1e9:,.0f}"]
        yield f"| `{kind}` | {len(made)} | {count} | {cells[0]} | {cells[1]} |"
    yield f"| together | {len(KINDS) * len(made)} | {sum(map(len, found.values()))} | | {total / 1e9:,.0f} |"


def _hours(grid: Grid, measured: StepTimes, images: Images, workers: Sequence[int]) -> Iterator[str]:
    made = _jobs(grid, measured, images, LISTED)
    found = _by_kind(made)
    total, chain = shared_seconds(made), critical_path(made)
    yield "| stage | hours each | hours in all | share |\n|---|---|---|---|"
    for kind, seconds in found.items():
        if sum(seconds):
            each = f"{_hour(min(seconds))}" + (f" to {_hour(max(seconds))}" if min(seconds) < max(seconds) else "")
            yield f"| `{kind}` | {each} | {_hour(sum(seconds))} | {sum(seconds) / total:.1%} |"
    yield (
        f"\nEach stage once: {_hour(total)} hours. Without sharing: {_hour(unshared_seconds(made))} hours, "
        f"{unshared_seconds(made) / total:.2f} times as many. The longest chain, from pretraining to the last "
        f"evaluation: {_hour(chain)} hours.\n"
    )
    yield "| workers | order | hours | at least | workers busy | held, worker-hours |\n|---|---|---|---|---|---|"
    for count in workers:
        done = {order: simulate(_jobs(grid, measured, images, order), count) for order in ORDERS}
        done[PRETRAINED_FIRST] = simulate_in_two(made, count)
        least = max(total / count, chain)
        for order, schedule in done.items():
            busy = total / (count * schedule.end)
            times = " | ".join(map(_hour, (schedule.end, least)))
            yield f"| {count} | {order} | {times} | {busy:.0%} | {_hour(schedule.held)} |"
            if count == 1:
                break  # the order does not matter


def _jobs(grid: Grid, measured: StepTimes, images: Images, order: str) -> list[Job]:
    seconds = {name: stage_seconds(config, images, measured) for name, config in grid.configs.items()}
    return jobs(grid, seconds, order=ORDERS[order])


def _by_kind(made: Sequence[Job]) -> Mapping[str, list[float]]:
    """The seconds of the different stages of every kind."""
    works = different(made).values()
    return {kind: [work.seconds for work in works if work.key.startswith(f"{kind} ")] for kind in KINDS}


def _hour(seconds: float) -> str:
    hours = seconds / 3600
    return f"{float(f'{hours:.3g}'):,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def _options() -> tuple[argparse.Namespace, list[str]]:
    return _parser().parse_known_args()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=Path, help="what benchmarks.stage_times wrote")
    parser.add_argument("--sweep", default="paper_grid")
    parser.add_argument("--experiment", default="paper")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--val-images", type=int, default=1000, help="held out of COCO's training images")
    parser.add_argument("--test-images", type=int, default=5000, help="COCO's val2017")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the plan between the marks of this page")
    return parser


if __name__ == "__main__":
    main()
