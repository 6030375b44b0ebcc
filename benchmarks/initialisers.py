"""Every initialiser on one pretrained network: cost, agreement, and what its masks leave of AP.

    python -m benchmarks.initialisers data=shapes
    python -m benchmarks.initialisers data=shapes --ratios 0.5 --methods scaled deeplift "deeplift init.target=loss"

What is not a flag is an override of train.py, and what stands behind the name of a method is one for that method alone.
The pretrained network, and every stage after it, come from the store of the command or are trained into it: on one core
of a CPU a method and a ratio of the demo take about a minute. For each of them two networks are scored: right after
masking, and after `stage.train_scores.epochs` of score training, neither of them fine-tuned. The folder `--output` gets

    initialisers.csv   one row for each method and ratio
    correlation.csv    Spearman's rank correlation of |scores|, by layer, for each pair of methods
    overlap.csv        share of the kept weights that two methods have in common, by ratio; by chance it is 1 - ratio
    initialisers.png   all of it in one figure
    tensorboard/       a histogram of the scores of every layer, a run for each method
"""

import argparse
import itertools
import multiprocessing
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from hydra.errors import HydraException
from scipy.stats import spearmanr
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from benchmarks.command import Command
from benchmarks.report import report, save_option
from hydra_det.evaluation.memory import peak_memory
from hydra_det.init import INITIALISERS
from hydra_det.modules.detector import Detector
from hydra_det.modules.weights import read_weights
from hydra_det.pipeline import build
from hydra_det.pipeline.check import check
from hydra_det.pipeline.scoring import score
from hydra_det.pipeline.stages.stage import Stage
from hydra_det.types import InputError

Scores = dict[str, Tensor]  # by layer
STATES = ("masked", "scores trained")


def main() -> None:
    options, overrides = _options()
    try:
        compare(options, overrides)
    except (InputError, HydraException) as error:
        sys.exit("error: " + " ".join(str(error).split()))


def compare(options: argparse.Namespace, overrides: list[str]) -> None:
    """Run what has not been run yet, and write the files."""
    command = Command(overrides)
    for method, ratio in itertools.product(options.methods, options.ratios):
        check(command.runner(*words(method), f"prune.ratio={ratio}").config)
    pretrained = command.runner().run("pretrain")
    options.output.mkdir(parents=True, exist_ok=True)

    rows, scores = [], {}
    for method in options.methods:
        initialised = command.runner(*words(method)).run("init_scores", pretrained)
        scores[method] = _scores(initialised)
        _histograms(scores[method], options.output / "tensorboard" / method)
        cost = {"seconds": initialised.facts["seconds"], "peak_mib": memory_of(overrides, method) / 2**20}
        for ratio in options.ratios:
            rows.append({"method": method, "ratio": ratio, **cost, **_quality(command, initialised, method, ratio)})
            pd.DataFrame(rows).to_csv(options.output / "initialisers.csv", index=False)
    table = pd.DataFrame(rows)
    correlation, overlap = correlations(scores), overlaps(scores, options.ratios, command)
    correlation.to_csv(options.output / "correlation.csv", index=False)
    overlap.to_csv(options.output / "overlap.csv", index=False)
    records: Any = table.to_dict("records")
    report("Initialisers, without fine-tuning", records, options=options)
    draw(table, correlation, overlap).savefig(options.output / "initialisers.png", dpi=110)


def correlations(scores: dict[str, Scores]) -> pd.DataFrame:
    """Rank correlation of |scores| for each pair of methods and layer."""
    rows = []
    for first, second in itertools.combinations(scores, 2):
        for layer, values in scores[first].items():
            found = spearmanr(values.abs().flatten(), scores[second][layer].abs().flatten()).statistic
            rows.append({"first": first, "second": second, "layer": layer, "rank_correlation": found})
    return pd.DataFrame(rows)


def overlaps(scores: dict[str, Scores], ratios: list[float], command: Command) -> pd.DataFrame:
    """Share of the weights kept by one method that another one keeps too, over all layers."""
    rows = []
    for ratio in ratios:
        plan = command.mask_plan(f"prune.ratio={ratio}")
        masks = {
            method: torch.cat([mask.flatten() for mask in plan.masks(layers, final=True).values()])
            for method, layers in scores.items()
        }
        for first, second in itertools.combinations(masks, 2):
            common = int((masks[first] & masks[second]).sum()) / int(masks[first].sum())
            rows.append({"ratio": ratio, "first": first, "second": second, "overlap": common})
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, correlation: pd.DataFrame, overlap: pd.DataFrame) -> plt.Figure:
    """Cost, agreement of ranks, agreement of masks, and AP50 over the ratio."""
    methods = list(dict.fromkeys(table.method))
    labels = [method.replace(" init.", "\n") for method in methods]
    colours = dict(zip(methods, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
    figure, panels = plt.subplots(2, 3, figsize=(17, 10), layout="constrained")
    cost = table.drop_duplicates("method")
    panels[0, 0].barh(labels, cost.seconds, color=[colours[method] for method in cost.method])
    panels[0, 0].set(title="time for all scores", xlabel="seconds", xscale="log")
    panels[0, 0].invert_yaxis()

    mean = correlation.groupby(["first", "second"], sort=False).rank_correlation.mean()
    grid = np.eye(len(methods))
    for pair, value in zip(mean.index, mean, strict=True):
        one, other = (methods.index(method) for method in pair)
        grid[one, other] = grid[other, one] = value
    panels[0, 1].imshow(grid, vmin=-1, vmax=1, cmap="RdBu")
    panels[0, 1].set(title="rank correlation, mean over layers", yticks=range(len(methods)), yticklabels=labels)
    panels[0, 1].set_xticks(range(len(methods)), labels, rotation=90)
    for row, column in np.ndindex(grid.shape):
        dark = abs(grid[row, column]) > 0.6
        panels[0, 1].text(
            column,
            row,
            f"{grid[row, column]:.2f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )

    base = methods[0]
    for method in methods[1:]:
        both = overlap[(overlap["first"] == base) & (overlap["second"] == method)]
        panels[0, 2].plot(both.ratio, both.overlap, "o-", color=colours[method], label=method)
    ratios = sorted(set(overlap.ratio))
    panels[0, 2].plot(ratios, [1 - ratio for ratio in ratios], "k:", label="chance")
    panels[0, 2].set(title=f"kept weights in common with {base}", xlabel="ratio removed", ylim=(0, 1))
    panels[0, 2].legend(panels[0, 2].lines[-1:], ["chance"], loc="lower left")

    shown = [("masked", "clean"), ("scores trained", "clean"), ("scores trained", "attacked")]
    for panel, (state, images) in zip(panels[1], shown, strict=True):
        for method in methods:
            own = table[table.method == method].sort_values("ratio")
            panel.plot(own.ratio, own[f"{state}: ap50 {images}"], "o-", color=colours[method], label=method)
        panel.set(title=f"AP50 {images}, {state}", xlabel="ratio removed", ylim=(0, None))
    for axis in (panels[0, 0].yaxis, panels[0, 1].yaxis, panels[0, 1].xaxis):
        axis.set_tick_params(labelsize=7)
    figure.legend(*panels[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _quality(command: Command, initialised: Stage, method: str, ratio: float) -> dict[str, float | None]:
    """AP of the two networks that a method and a ratio give."""
    runner = command.runner(*words(method), f"prune.ratio={ratio}")
    parents = dict(zip(STATES, (initialised, runner.run("train_scores", initialised)), strict=True))
    found: dict[str, float | None] = {}
    for state, parent in parents.items():
        stage = runner.run("prune", parent)
        net = runner.network(stage)
        metrics, _ = score(net, runner.config, data=command.data, store=command.store, origin=stage.origin)
        for images in ("clean", "attacked"):
            protocols: Any = metrics[images]
            for key, name in (("map", "ap"), ("map_50", "ap50")):
                found[f"{state}: {name} {images}"] = protocols["coco"][key] if protocols else None
    return found


def words(method: str) -> list[str]:
    """The overrides that a method stands for: `deeplift init.target=loss` -> `init=deeplift`, `init.target=loss`."""
    name, *further = method.split()
    return [f"init={name}", *further]


def memory_of(overrides: list[str], method: str) -> int:
    """Peak memory of scoring above the network, on the device of the trainer, by a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory_of, (overrides, method))


def _memory_of(overrides: list[str], method: str) -> int:
    runner = Command(overrides).runner(*words(method))
    config = runner.config
    device = build.bare_trainer(config).strategy.root_device
    net = build.make_masked(runner.network(runner.run("pretrain")), exclude=config["prune"]["exclude"])
    callback = build.instantiate(config["stage"]["init_scores"]["callbacks"])["score_init"]
    stand_in: Any = SimpleNamespace(datamodule=runner.data)
    detector = Detector(net).to(device)
    return peak_memory(lambda: callback.on_fit_start(stand_in, detector), device=str(device))


def _scores(stage: Stage) -> Scores:
    tensors = read_weights(stage.weights)
    return {name.removesuffix(".scores"): values for name, values in tensors.items() if name.endswith(".scores")}


def _histograms(scores: Scores, folder: Path) -> None:
    with SummaryWriter(str(folder)) as writer:
        for layer, values in scores.items():
            writer.add_histogram(f"scores/{layer}", values.float(), 0)


def _options() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(INITIALISERS), help="initialisers with their options")
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.25, 0.5, 0.75, 0.9])
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks/initialisers"))
    save_option(parser)
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
