"""How much faster is a network without the channels that masks of groups of filters remove?

And is it as fast as one that was built narrow?

python -m benchmarks.compaction
python -m benchmarks.compaction --model yolov3_tiny --ratios 0.5 0.9 --engines onnxruntime openvino

For every ratio five networks take turns in every engine: dense; compact; compact and rounded up to multiples of 8;
compact of masks that keep multiples of 8 within the same budget (`prune.multiple=8`); and the same architecture with
all channels narrowed alike until it has as many parameters. Weights are random: time does not depend on them. Forward
of one image. The paper's ratios of time are printed beside.
"""

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.interleaved import parsed, time_in_turns, timing_options
from benchmarks.measured import Row
from benchmarks.report import report
from benchmarks.subjects import network
from hydra_det.compaction.channels import layout, silence
from hydra_det.compaction.compact import as_graph, compact
from hydra_det.compaction.counts import count_flops, count_parameters
from hydra_det.engines.registry import in_engine
from hydra_det.modules.graph import GraphDetector
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import PruneSettings

# Time of the dense network over that of the structurally pruned one, from the times in the paper.
PAPER = {0.25: 1.11, 0.5: 1.47, 0.65: 2.26, 0.75: 3.2, 0.85: 4.3, 0.9: 4.7, 0.95: 5.0, 0.99: 5.4}
SMALL = ("compact", "rounded", "in eights", "narrow")  # what is compared with the dense network


def main() -> None:
    """A line for every ratio."""
    options = _options()
    image = torch.rand(1, 3, options.image_size, options.image_size, generator=torch.Generator().manual_seed(0))
    rows: list[Row] = []
    dense = as_graph(network(options.model))
    for ratio in options.ratios:
        small = pruned(options.model, ratio)
        networks = {
            "dense": dense,
            "compact": compact(small).network,
            "rounded": compact(small, multiple=8).network,
            "in eights": compact(pruned(options.model, ratio, multiple=8)).network,
            "narrow": narrowed(options.model, count_parameters(compact(small).network)),
        }
        flops = [count_flops(networks[name], options.image_size) for name in ("dense", "compact")]
        for engine in options.engines:
            times = _milliseconds(engine, networks, image, options)
            rows.append({
                "removed": f"{ratio:.0%}",
                "parameters": count_parameters(networks["compact"]),
                "fewer FLOPs": flops[0] / flops[1],
                "engine": engine,
                "dense, ms": times["dense"],
                **{f"dense / {name}": times["dense"] / times[name] for name in SMALL},
                "paper": PAPER.get(ratio),
            })  # fmt: skip
            print(f"{ratio:.0%} in {engine} done", file=sys.stderr)
    title = f"Forward of {options.model}, one image of {options.image_size} px, cpu"
    report(title, rows, options=options, notes=[f"Medians of {options.rounds} rounds in turns."])


def pruned(model: str, ratio: float, *, multiple: int = 1) -> torch.nn.Module:
    """A network whose groups of filters are removed by the size of their random weights, the same share of each."""
    net = make_masked(network(model))
    plan = mask_plan(PruneSettings(ratio=ratio, granularity="filter_group", multiple=multiple), layout(net))
    masks = plan.masks({name: layer.weight for name, layer in masked_layers(net)}, final=True)
    for name, layer in masked_layers(net):
        layer.mask.copy_(masks[name])
    silence(net)
    return net


def narrowed(model: str, parameters: int) -> GraphDetector:
    """The architecture with the multiplier of its channels that comes closest to a number of parameters."""
    low, high = 0.0, 1.0
    tried = {}
    for _ in range(12):
        width = (low + high) / 2
        found = count_parameters(network(model, width=width))
        tried[width] = abs(found - parameters)
        low, high = (width, high) if found < parameters else (low, width)
    return as_graph(network(model, width=min(tried, key=lambda width: tried[width])))


def _milliseconds(
    engine: str, networks: dict[str, GraphDetector], image: Tensor, options: argparse.Namespace
) -> dict[str, float]:
    """Median of every network in an engine."""
    with tempfile.TemporaryDirectory() as scratch:
        forwards = {}
        for name, made in networks.items():
            folder = Path(scratch, name)
            folder.mkdir()
            forward, _ = in_engine(engine, made, folder, image, threads=torch.get_num_threads())
            forwards[name] = partial(forward, image)
        seconds = time_in_turns(forwards, rounds=options.rounds, warmup=options.warmup)
    return {name: statistics.median(values) * 1000 for name, values in seconds.items()}


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=15, warmup=3, devices=["cpu"])
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.99])
    parser.add_argument("--engines", nargs="+", default=["torch", "onnxruntime", "openvino"])
    return parsed(parser)


if __name__ == "__main__":
    main()
