"""What do nine ratios cost when they share stages, against nine separate runs?

python -m benchmarks.shared_stages
python -m benchmarks.shared_stages --separate 9 data=deeppcb data.root=path/to/deeppcb

The sweep goes into an empty store, then some of its ratios, spread evenly, each into one of its own. Compared
is the time on the clock, scoring and timing included: the sweep, against nine runs of the mean length of those.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra_det.callbacks.pictures import spread
from hydra_det.pipeline.build import SCRIPTS

RATIOS = ("0", "0.25", "0.5", "0.65", "0.75", "0.85", "0.9", "0.95", "0.99")  # the paper's


def main() -> None:
    """Time the sweep and the separate runs, one after the other."""
    options, overrides = _options()
    chosen = sorted(spread(range(len(RATIOS)), options.separate))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seconds("-m", f"prune.ratio={RATIOS[0]}", "dry_run=true", *overrides, root=root / "first")  # images are drawn
        swept = seconds("-m", f"prune.ratio={','.join(RATIOS)}", *overrides, root=root / "sweep")
        print(f"{len(RATIOS)} ratios with shared stages: {swept:.0f} s", flush=True)
        apart = []
        for place in chosen:
            apart.append(seconds(f"prune.ratio={RATIOS[place]}", *overrides, root=root / f"apart_{place}"))
            print(f"ratio {RATIOS[place]} alone: {apart[-1]:.0f} s", flush=True)
    whole = len(RATIOS) * statistics.mean(apart)
    print(
        f"{len(RATIOS)} separate runs, from {len(apart)} of them: {whole:.0f} s; shared / separate {swept / whole:.2f}"
    )


def seconds(*words: str, root: Path) -> float:
    """How long a command of train.py takes with an empty store."""
    places = (f"store={root / 'store'}", f"hydra.run.dir={root / 'run'}", f"hydra.sweep.dir={root / 'run'}")
    start = time.perf_counter()
    command = [sys.executable, str(SCRIPTS / "train.py"), *words, *places]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--separate", type=int, default=3, help="how many of the nine are run alone")
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
