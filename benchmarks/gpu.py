"""What one GPU does, in minutes and without a network: the tests that need one, then how fast everything is on it.

python -m benchmarks.gpu
python -m benchmarks.gpu --minutes 4 --only tests stage_times

The tests marked `gpu`, the benchmarks of the list `cuda` of `benchmarks.all` (bfloat16, channels_last, CUDA graphs;
images a second, how busy the GPU is, memory) and, for docs/planning.md, every kind of training step by
`benchmarks.stage_times`. What is there is kept when the time is over; the exit code is 1 if anything failed or is
missing.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.machine import ROOT

STAGE_TIMES = "benchmarks.stage_times --device cuda --batch 16 --rounds 10 --warmup 3 --save docs/stage_times.json"
PARTS = {
    "tests": [["pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]],
    "benchmarks": [["benchmarks.all", "--device", "cuda"]],
    "stage_times": [
        [*STAGE_TIMES.split(), "--precision", "float32"],
        [*STAGE_TIMES.split(), "--precision", "bf16-mixed"],
    ],
}


def main() -> None:
    """All parts, one after the other."""
    options = _options()
    start, failed = time.monotonic(), []
    for part in options.only:
        for words in PARTS[part]:
            print(f"{time.monotonic() - start:.0f} s: python -m {' '.join(words)}", flush=True)
            if not run(words, seconds=start + 60 * options.minutes - time.monotonic()):
                failed.append(f"python -m {' '.join(words)}")
    print(f"{time.monotonic() - start:.0f} s in all", flush=True)
    if failed:
        sys.exit(f"error: failed, or not done in {options.minutes:g} minutes: {'; '.join(failed)}")


def run(words: Sequence[str], *, seconds: float) -> bool:
    """Whether a command behind `python -m` ended well in time; with all it started it is killed when time is over."""
    if seconds <= 0:
        return False
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, start_new_session=True)
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    return parser.parse_args()


if __name__ == "__main__":
    main()
