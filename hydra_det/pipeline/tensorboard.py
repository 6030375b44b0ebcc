"""What TensorBoard finds in the folder of a run: the logs of its stages in their order, and what came out.

    logs/1_pretrain  ...  logs/5_finetune    links to the logs in the store
    logs/result                              a row of the table of hyperparameters

TensorBoard names what it shows by these paths, below the folder that it is pointed at, and has little room for them.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from hydra_det.records.record import NetworkMetrics, Record
from hydra_det.records.table import achieved_sparsity
from hydra_det.records.traits import is_greyscale
from hydra_det.store.links import link

FOLDER, RESULT = "logs", "result"
LEARNING = ("pretrain", "train_scores", "finetune")
# The pruned network is as slow and as large as the dense one until what its masks remove is gone.
SHOWN_AS = {"dense": "dense", "pruned": "masked", "compact": "compact", "sparse": "sparse"}


def show_stage(run: Path, number: int, name: str, logs: Path) -> None:
    """Show the logs of a stage, which may still be written or come later.

    Args:
        run: folder of the run.
        number: of the stage in the run, from 1.
        name: of the stage.
        logs: folder of the log files.
    """
    link(logs, run / FOLDER / f"{number}_{name}")


def write_result(run: Path, record: Record) -> None:
    """Write what was chosen and what came out of it, in place of what was there, into the folder of a run."""
    folder = run / FOLDER / RESULT
    shutil.rmtree(folder, ignore_errors=True)
    # Not the first summary: it would fix the columns, and the values that a filter offers, of all runs to those of one.
    _, start, end = hparams(hyperparameters(record), {})
    with SummaryWriter(str(folder)) as writer:
        for summary in (start, end):
            writer.file_writer.add_summary(summary)
        for name, value in results(record).items():
            writer.add_scalar(name, value, 0)


def hyperparameters(record: Record) -> dict[str, str | float]:
    """What a run was told, as far as runs are compared by it."""
    choices, sparsity, stages = record.config["choices"], record.sparsity, record.config["stage"]
    return {
        **{group: choices.get(group, "none") for group in ("data", "model", "init", "hardening")},
        "granularity": sparsity["granularity"],
        "allocation": sparsity["allocation"],
        "ratio": sparsity["ratio_asked"],
        "greyscale": "yes" if is_greyscale(record) else "no",
        "attack": record.attack["name"],
        "epsilon": record.attack["epsilon"],
        "seed": record.seed,
        **{f"epochs_{name}": stages[name]["epochs"] for name in LEARNING},
    }


def results(record: Record) -> dict[str, float]:
    """What came out: of the pruned network in `test/`, of the dense one in `test_dense/`, and what they cost.

    TensorBoard sorts by name and opens its table with the first five: they are AP and sparsity of the pruned network.
    """
    found = {"test/sparsity": achieved_sparsity(record)}
    found |= _precision(record.metrics["pruned"], "test") | _precision(record.metrics["dense"], "test_dense")
    for network, latency in record.latency.items():
        found[f"test_cost/latency_ms_{SHOWN_AS[network]}"] = latency["total"]["median_ms"]
    for network, size in record.sizes.items():
        found[f"test_cost/megabytes_{SHOWN_AS[network]}"] = size["file_bytes"] / 1e6
    return found


def _precision(metrics: NetworkMetrics, group: str) -> dict[str, float]:
    passes: Mapping[str, float | None] = {
        f"{group}/{key}{condition}": protocols["coco"][key]
        for condition, protocols in (("", metrics["clean"]), ("_attacked", metrics["attacked"]))
        for key in ("map", "map_50")
        if protocols is not None
    }
    return {name: value for name, value in passes.items() if value is not None}
