"""How much memory does each of the five stages need at most?

python -m benchmarks.stage_memory
python -m benchmarks.stage_memory --device cuda --batch 16
python -m benchmarks.stage_memory attack.steps=1 init=deeplift

Every stage runs as `train.py` runs it, with the callbacks of its config, on the built-in pictures: stages that train
see one batch, under attack. Each is a process of its own. On the CPU the number is the peak of the resident memory
above what the process holds with all its imports; on a GPU what torch allocates. Networks and optimiser are in it. What
is not a flag is an override of train.py.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.command import Command
from benchmarks.interleaved import DEVICES
from benchmarks.measured import Row
from benchmarks.report import report, save_option
from hydra_det.evaluation.memory import peak_memory
from hydra_det.pipeline.stages.stage import STAGES

ONE_STEP = (
    "trainer.limit_train_batches=1", "+trainer.limit_val_batches=0", "trainer.enable_progress_bar=false",
    "stage.pretrain.epochs=1", "stage.pretrain.clean_epochs=0", "stage.pretrain.attacked_share=1",
    "stage.train_scores.epochs=1", "stage.train_scores.attacked_share=1",
    "stage.finetune.epochs=1", "stage.finetune.attacked_share=1", "data.test_size=4", "data.val_images=4",
)  # fmt: skip


def main() -> None:
    """One stage after the other, each from what the one before it left."""
    options, overrides = _options()
    rows: list[Row] = []
    # A server that has imported everything and computed nothing: of it every stage gets a fresh copy, without the wait.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([Command.__module__])
    with tempfile.TemporaryDirectory() as folder:
        words = [*_words(options, Path(folder)), *overrides]
        for name in STAGES:
            with processes.Pool(1) as pool:
                peak, seconds = pool.apply(_measured, (words, name, options.device, options.threads))
            rows.append({"stage": name, "peak_mib": peak / 2**20, "s": seconds})
            print(f"{name} done", file=sys.stderr)
    title = f"Stages of {options.model}, {options.image_size} px, batch {options.batch}, {options.device}"
    report(title, rows, options=options)


def _words(options: argparse.Namespace, folder: Path) -> list[str]:
    """The command of train.py whose stages are looked at."""
    return [
        f"model={options.model}",
        "data=shapes",
        f"data.root={folder / 'shapes'}",
        f"data.train_size={2 * options.batch + 24}",
        f"data.image_size={options.image_size}",
        f"data.batch_size={options.batch}",
        f"store={folder / 'store'}",
        f"trainer.accelerator={'gpu' if options.device == 'cuda' else 'cpu'}",
        *ONE_STEP,
    ]


def _measured(overrides: Sequence[str], name: str, device: str, threads: int) -> tuple[int, float]:
    """Peak memory of a stage in bytes, and its seconds; the stages before it are found in the store."""
    if threads:
        torch.set_num_threads(threads)
    runner = Command(overrides).runner()
    parent = None
    for earlier in STAGES[: STAGES.index(name)]:
        parent = runner.run(earlier, parent)
        assert parent.reused, f"{earlier} ran twice"
    start = time.perf_counter()
    peak = peak_memory(lambda: runner.run(name, parent), device=device)
    return peak, time.perf_counter() - start


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov3")
    parser.add_argument("--image-size", type=int, default=416)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's choice")
    save_option(parser)
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
