"""What is timed by whole commands of train.py: two processes of one job, and two jobs side by side."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hydra_det.pipeline.build import SCRIPTS
from hydra_det.records.record import RECORD_NAME

BATCH, IMAGES = 8, 256
RECIPE = (
    "experiment=smoke", "model.width=0.25", "data.image_size=96",
    "trainer.accelerator=cpu", "stage.pretrain.clean_epochs=2",
)  # fmt: skip


def processes(count: int, folder: Path) -> float:
    """Seconds of two clean epochs of pretraining by so many processes with a thread each, start-up left out.

    A step has the same images whatever their number.
    """
    strategy = "ddp" if count > 1 else "auto"
    batch = f"data.batch_size={BATCH // count}"
    _run(
        folder,
        batch,
        f"data.train_size={IMAGES}",
        f"trainer.devices={count}",
        f"trainer.strategy={strategy}",
        f"hydra.run.dir={folder / 'run'}",
    )
    record = json.loads((folder / "run" / RECORD_NAME).read_text())
    return float(record["stages"][0]["seconds"])


def side_by_side(count: int, folder: Path) -> float:
    """Seconds on the clock of a sweep of two small jobs that share nothing, so many at once, with a thread each."""
    start = time.perf_counter()
    launcher = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={count}")
    _run(folder, "-m", "seed=0,1", "data.train_size=64", f"hydra.sweep.dir={folder / 'sweep'}", *launcher)
    return time.perf_counter() - start


COMMANDS: dict[str, tuple[str, str, Callable[[int, Path], float]]] = {
    "processes": (
        "processes of one job (ddp, gloo)",
        f"two epochs of {IMAGES} images, batch {BATCH} in all",
        processes,
    ),
    "jobs": ("jobs at once (joblib)", "a sweep of two small jobs, start-up included", side_by_side),
}


def _run(folder: Path, *words: str) -> None:
    places = (f"store={folder / 'store'}", f"data.root={folder.parent / 'shapes'}")
    command = [sys.executable, str(SCRIPTS / "train.py"), *words, *RECIPE, *places]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
