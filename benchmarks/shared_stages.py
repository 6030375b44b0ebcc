"""What do several ratios cost when they share stages, against as many separate runs?

python -m benchmarks.shared_stages
python -m benchmarks.shared_stages --ratios 5 --separate 2 trainer.limit_train_batches=0.2
python -m benchmarks.shared_stages --separate 9 data=deeppcb data.root=path/to/deeppcb

A sweep over ratios of the paper goes into an empty store, then some of these ratios, spread evenly, each into one of
its own. Compared is the time on the clock, scoring and timing included: the sweep, against as many runs of the mean
length of those.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measured import Row
from benchmarks.report import report, save_option
from hydra_det.callbacks.watching.pictures import spread
from hydra_det.pipeline.build import SCRIPTS

RATIOS = ("0", "0.25", "0.5", "0.65", "0.75", "0.85", "0.9", "0.95", "0.99")  # the paper's


def main() -> None:
    """Time the sweep and the separate runs, one after the other."""
    options, overrides = _options()
    ratios = _some(RATIOS, options.ratios)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds("-m", f"prune.ratio={ratios[0]}", "dry_run=true", *overrides, root=root / "first")  # images are drawn
        swept = seconds("-m", f"prune.ratio={','.join(ratios)}", *overrides, root=root / "sweep")
        apart = {}
        for ratio in _some(ratios, options.separate):
            apart[ratio] = seconds(f"prune.ratio={ratio}", *overrides, root=root / f"apart_{ratio}")
    whole = len(ratios) * statistics.mean(apart.values())
    rows: list[Row] = [
        {"runs": f"one sweep of {len(ratios)} ratios", "s": swept, "of separate runs": swept / whole},
        *[Row({"runs": f"ratio {ratio} alone", "s": alone}) for ratio, alone in apart.items()],
        {"runs": f"{len(ratios)} separate runs, by the mean of {len(apart)}", "s": whole, "of separate runs": 1.0},
    ]
    title = " ".join([f"Ratios {', '.join(ratios)} in a sweep, and apart:", "train.py", *overrides])
    report(title, rows, options=options)


def seconds(*words: str, root: Path) -> float:
    """How long a command of train.py takes with an empty store."""
    places = (f"store={root / 'store'}", f"hydra.run.dir={root / 'run'}", f"hydra.sweep.dir={root / 'run'}")
    start = time.perf_counter()
    print(f"train.py {' '.join(words)}", file=sys.stderr)
    command = [sys.executable, str(SCRIPTS / "train.py"), *words, *places]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def _some(ratios: Sequence[str], count: int) -> list[str]:
    """So many of them, spread evenly."""
    return [ratios[place] for place in sorted(spread(range(len(ratios)), count))]


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratios", type=int, default=len(RATIOS), help="how many of the paper's nine are swept over")
    parser.add_argument("--separate", type=int, default=3, help="how many of them are run alone")
    save_option(parser)
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
