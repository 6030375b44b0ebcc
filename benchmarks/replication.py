"""The paper's experiment on a data set of your own, within the time it is given; the same command goes on.

python -m benchmarks.replication data=bccd data.root=path/to/BCCD_Dataset/BCCD --minutes 600 --jobs 2
python -m benchmarks.replication data=deeppcb data.root=path/to/deeppcb --seeds 0 1 2 --ratios 0.75 0.5
python -m benchmarks.replication data=coco data.root=path/to/coco model=yolov3_tiny --weights yolov3-tiny.weights

First the networks that all others start from are trained, one a seed, in colour and, if a configuration asks for it,
without; with `--weights` all start from that file instead. Then comes the grid of conf/sweep/replication.yaml. Where
`--timed` names configurations, their networks are timed in OpenVINO and in the engine `sparse`, one after the other:
nothing else should run on the machine meanwhile. Last come suites of attacks on the networks of one ratio.

The results are copied into one folder: records, what suites found, why a run came to nothing. `--results
docs/replication/<data>` keeps them in the project, for `python -m publish.write_results`. When the time is over the
processes are interrupted; the next time they go on from where they were, if outputs/ is still there. On another machine
take other seeds: networks of one seed are compared, and should come from one start.
"""

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from hydra_det.files.atomic import write_atomically
from hydra_det.pipeline.build import SCRIPTS
from hydra_det.records.record import FAILED_NAME, RECORD_NAME
from hydra_det.records.robustness import ROBUSTNESS

KEPT = (RECORD_NAME, FAILED_NAME, ROBUSTNESS)
OUTPUTS = Path("outputs/replication")
OWN = ("store", "start", "grid", "suites", "timed")  # folders there, of a data set
GREYSCALE = "deeplift_weight_greyscale"
# What comes first has a pretraining of its own, so that all of these run side by side.
CONFIGURATIONS = f"""scaled_weight {GREYSCALE} clean_pretraining deeplift_weight deeplift_kernel scaled_kernel
    recommended recommended_deeplift recommended_kernel hybrid_masks pgd_hardening"""
RATIOS = "0.75 0.5 0.9 0.85 0.65 0.95 0.25 0.99 0"
SHARE = 0.85  # of the time for the grid, where suites come after it
PATIENCE = 25  # seconds a process has for leaving after it was interrupted


class Clock:
    """Runs commands one after the other, or side by side, until the time is over."""

    def __init__(self, minutes: float) -> None:
        self.start = time.monotonic()
        self.seconds = 60 * minutes
        self.running: set[subprocess.Popen[bytes]] = set()

    def left(self, share: float = 1.0) -> float:
        """Seconds until so much of the time is over."""
        return self.start + share * self.seconds - time.monotonic()

    def run(self, words: Sequence[str], *, share: float = 1.0) -> bool:
        """Whether the command ended well; it is interrupted, as by Ctrl-C, when its share of the time is over."""
        if self.left(share) <= 0:
            return False
        print(f"{time.monotonic() - self.start:.0f} s:", *words, flush=True)
        process = subprocess.Popen([sys.executable, *words], start_new_session=True)
        self.running.add(process)
        try:
            return process.wait(self.left(share)) == 0
        except subprocess.TimeoutExpired:
            _stop(process)
            return False
        except KeyboardInterrupt:
            self.leave()
        finally:
            self.running.discard(process)

    def leave(self) -> NoReturn:
        """Interrupt what runs, which has sessions of its own, so that Ctrl-C does not reach it."""
        for process in tuple(self.running):
            _stop(process)
        sys.exit("interrupted; type the same command again to go on")


def main() -> None:
    """Start, grid, suites, results."""
    # A shell lets what it runs in the background ignore interrupts, and programs pass that on to those they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options, overrides = _options()
    clock, name = Clock(options.minutes), _data_name(overrides)
    start, grid = OUTPUTS / name / "start", OUTPUTS / name / "grid"
    results = options.results or OUTPUTS / name / "results"
    if {path.resolve() for path in (results, *results.parents)} & {(OUTPUTS / name / own).resolve() for own in OWN}:
        sys.exit(
            f"error: --results: expected a folder of its own, got {results}, where this command keeps what it runs"
        )
    launcher = ["hydra/launcher=devices", f"hydra.launcher.per_device={options.jobs}"] if options.jobs > 1 else []
    store = f"store={OUTPUTS / name / 'store'}"
    seeds = f"seed={','.join(map(str, options.seeds))}"
    colours = ["false", "true"] if GREYSCALE in options.configurations else ["false"]
    weights = (
        options.weights or f"{start}/greyscale_${{data.greyscale}}_seed${{seed}}/stages/pretrain/weights.safetensors"
    )
    started = options.weights or clock.run([
        str(SCRIPTS / "train.py"), "-m", "experiment=replication/start", *overrides, store, seeds, *launcher,
        f"data.greyscale={','.join(colours)}", f"hydra.sweep.dir={start}",
        "hydra.sweep.subdir=greyscale_${data.greyscale}_seed${seed}",
    ])  # fmt: skip
    if not started:
        sys.exit(f"the networks to start from, in {start}: not done in time, or failed; type the same command again")
    clock.run([
        str(SCRIPTS / "train.py"), "sweep=replication", "experiment=replication/grid", *overrides, store, seeds,
        *launcher,
        f"model.weights={weights}", f"hydra.sweep.dir={grid}",
        f"configuration={','.join(options.configurations)}", f"prune.ratio={','.join(options.ratios)}",
    ], share=SHARE if options.suite or options.timed else 1)  # fmt: skip
    _time_engines(clock, grid, options)
    if options.suite:
        _suites(clock, grid, options)
    _collect(grid, OUTPUTS / name / "suites", results)
    cells = itertools.product(options.configurations, options.ratios, options.seeds)
    asked = [grid / f"{config}_{ratio}_seed{seed}" / RECORD_NAME for config, ratio, seed in cells]
    runs = sum(path.exists() for path in asked)
    print(f"{runs} of {len(asked)} runs are there; results in {results}: report.py runs={results}", flush=True)
    if not runs:
        sys.exit(f"no run came to a result; the reasons are in {grid}/*/{FAILED_NAME}")


def _suites(clock: Clock, grid: Path, options: argparse.Namespace) -> None:
    """A suite of attacks on some of the networks, side by side."""
    names = [f"{config}_{options.ratios[0]}_seed{seed}" for config in options.attacked for seed in options.seeds]
    jobs = [
        [str(SCRIPTS / "evaluate.py"), f"run={grid / name}", f"suite={options.suite}",
         f"hydra.run.dir={grid.parent / 'suites' / name}"]
        for name in names
        if _is_due(grid / name / RECORD_NAME, grid.parent / "suites" / name / ROBUSTNESS)
    ]  # fmt: skip
    pool = ThreadPoolExecutor(options.jobs)
    try:
        list(pool.map(clock.run, jobs))
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        clock.leave()
    pool.shutdown()


def _time_engines(clock: Clock, grid: Path, options: argparse.Namespace) -> None:
    """The networks of some configurations by compact.py, which adds what it finds to their records."""
    for config, ratio, seed in itertools.product(options.timed, options.ratios, options.seeds):
        record = grid / f"{config}_{ratio}_seed{seed}" / RECORD_NAME
        if not record.exists() or (_read(record)["compaction"] or {}).get("latency"):
            continue
        timed = clock.run([
            str(SCRIPTS / "compact.py"), f"run={record.parent}", "engines=[openvino,sparse]", "evaluate=false",
            "latency.batch_sizes=[1]", f"hydra.run.dir={grid.parent / 'timed' / record.parent.name}",
        ])  # fmt: skip
        if not timed:
            print(f"{record.parent}: not timed; type the same command again", flush=True)


def _is_due(record: Path, suite: Path) -> bool:
    """Whether there is a network, and no suite of it or one of an earlier network."""
    if not record.exists() or not suite.exists():
        return record.exists()
    return bool(_read(suite)["origin"]["created"] < _read(record)["created"])  # both UTC, ISO 8601


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _collect(grid: Path, suites: Path, results: Path) -> None:
    """Copy what is a result, a folder a run, and take away what no longer holds."""
    for folder in sorted({path.parent for name in (RECORD_NAME, FAILED_NAME) for path in grid.glob(f"*/{name}")}):
        place, record, suite = results / folder.name, folder / RECORD_NAME, suites / folder.name / ROBUSTNESS
        if (folder / FAILED_NAME).exists():
            holds = [folder / FAILED_NAME]
        else:
            holds = [record] if _is_due(record, suite) else [record, suite]
        place.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            (place / name).unlink(missing_ok=True)
        for path in holds:
            shutil.copyfile(path, place / path.name)
        if suite in holds:
            # Where its run lay on this machine says nothing elsewhere: it lies in the folder of its run.
            found = json.loads(suite.read_text(encoding="utf-8"))
            found["origin"]["run"] = folder.name
            write_atomically(place / ROBUSTNESS, json.dumps(found, indent=1, sort_keys=True) + "\n")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a process and those that it started, and end them where that takes too long."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(PATIENCE)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _data_name(overrides: Sequence[str]) -> str:
    found = [word.removeprefix("data=") for word in overrides if word.startswith("data=")]
    if not found:
        sys.exit("error: data: expected data=bccd or another data set, got none")
    return found[-1]


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60 * 24 * 365, help="until everything is interrupted")
    parser.add_argument("--jobs", type=int, default=1, help="side by side: of the grid on each GPU or else the CPU")
    parser.add_argument("--weights", type=Path, help="that all networks start from, instead of training a start")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--ratios", nargs="+", default=RATIOS.split())
    parser.add_argument("--configurations", nargs="+", default=CONFIGURATIONS.split())
    parser.add_argument("--suite", default="quick", help="of attacks, on networks of the first ratio; '' for none")
    parser.add_argument("--timed", nargs="+", default=[], help="configurations whose networks compact.py times")
    parser.add_argument("--results", type=Path, help="folder for the results; outputs/replication/<data>/results")
    parser.add_argument("--attacked", nargs="+", default=["scaled_weight", "deeplift_weight", "recommended"])
    # An option that takes several words would take the overrides behind them, too.
    overrides = [word for word in sys.argv[1:] if "=" in word and not word.startswith("-")]
    options, others = parser.parse_known_args([word for word in sys.argv[1:] if word not in overrides])
    if options.weights and not options.weights.is_file():
        parser.error(f"--weights: expected a file of weights, got {options.weights}, which is not there")
    if others:
        parser.error(f"expected overrides as of train.py beside the options, got {' '.join(others)}")
    if odd := [name for name in options.timed if name not in options.configurations]:
        parser.error(f"--timed: expected some of {' '.join(options.configurations)}, got {odd[0]}")
    return options, overrides


if __name__ == "__main__":
    main()
