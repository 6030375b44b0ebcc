"""How much faster are masks of single weights and of kernels in the sparse engine than the dense network in any engine?

python -m benchmarks.sparse
python -m benchmarks.sparse --threads 2 --granularities weight --allocations uniform erk
python -m benchmarks.sparse --runs outputs/runs/<run> outputs/runs/<another one> --image-size 416

All take turns: the dense network in every runtime that computes here, and the pruned ones in the sparse engine, after
their answers were compared with torch. Weights and masks are random where no runs are given; with runs the networks
and masks are theirs, and their image size where none is asked for, and the dense network is that of the first one. The
paper's ratios stand beside.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.interleaved import compare, parsed, timing_options
from benchmarks.measured import Row
from benchmarks.subjects import network
from hydra_det.compaction.channels import layout
from hydra_det.compaction.compact import as_graph
from hydra_det.compaction.sizes import map_sizes
from hydra_det.engines.equal import check_equal
from hydra_det.engines.registry import ENGINES, check_installed, in_engine
from hydra_det.finished.run import load_run
from hydra_det.modules.masked_conv import make_masked, masked_layers
from hydra_det.pruning.plan import mask_plan
from hydra_det.pruning.settings import PruneSettings
from hydra_det.types import InputError

SPARSE, BASELINE = "sparse", "openvino"
IMAGE_SIZE = 416  # pixels, of random masks
DENSE = ("torch", "onnxruntime", "openvino", "openvino_bf16", "onnxruntime_int8", "openvino_int8")
# Time of the dense network over that of the pruned one, from the times in the paper: unstructured, structured.
PAPER = {
    0.5: (1.20, 1.47), 0.75: (1.60, 3.2), 0.85: (2.08, 4.3), 0.9: (2.36, 4.7), 0.95: (2.64, 5.0), 0.99: (2.75, 5.4),
}  # fmt: skip


def main() -> None:
    """One table."""
    options = _options()
    about: dict[str, Row] = {}
    forwards = {}
    pruned = _of_runs(options) if options.runs else _random(options)
    dense, size, title = pruned.pop("dense"), options.image_size, options.runs[0] if options.runs else options.model
    images = torch.rand(options.batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    print(f"{title}: {len(pruned)} masks", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for engine in options.dense:
            try:
                check_installed([engine])
            except InputError as error:
                print(error, file=sys.stderr)
                continue
            forward, _ = in_engine(engine, as_graph(dense), Path(folder), images, threads=torch.get_num_threads())
            forwards[engine] = partial(forward, images)
    for name, net in pruned.items():
        small = as_graph(net)  # no channel is removed: that time is compaction's
        forward, _ = in_engine(SPARSE, small, Path(), images, threads=torch.get_num_threads())
        with torch.no_grad():
            check_equal(SPARSE, small(images), forward(images))
        forwards[name] = partial(forward, images)
        about[name] = {"operations left": f"{operations(small, size) / operations(dense, size):.1%}"}
        if (paper := _paper(name)) is not None:
            about[name]["in the paper"] = paper
    images_said = "one image" if options.batch == 1 else f"{options.batch} images"
    threads = f"{torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"
    compare(
        f"Forward of {title}, {images_said} of {size} px, {threads}", forwards, baseline=BASELINE, options=options,
        more=lambda name: about.get(name, {}),
        notes=[f"First the dense network, in float32 where nothing else is said; then masks in {SPARSE}."],
    )  # fmt: skip


def operations(net: nn.Module, image_size: int) -> int:
    """Multiplications of the convolutions for one image, those with a zero left out."""
    sizes = map_sizes(net, image_size)
    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    return sum(int(torch.count_nonzero(layer.weight)) * _area(sizes[name][1]) for name, layer in layers.items())


def masked(model: str, granularity: str, allocation: str, ratio: float) -> nn.Module:
    """A network with random weights, of which the smallest of every layer are removed."""
    net = make_masked(network(model))
    plan = mask_plan(PruneSettings(ratio=ratio, granularity=granularity, allocation=allocation), layout(net))
    masks = plan.masks({name: layer.weight.abs() for name, layer in masked_layers(net)}, final=True)
    for name, layer in masked_layers(net):
        layer.mask.copy_(masks[name])
    return net.eval()


def _random(options: argparse.Namespace) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {"dense": network(options.model).eval()}
    for granularity in options.granularities:
        for allocation in options.allocations:
            for ratio in options.ratios if allocation == "uniform" else options.others:
                name = f"{granularity}, {allocation}, {ratio:.0%}"
                found[name] = masked(options.model, granularity, allocation, ratio)
    return found


def _of_runs(options: argparse.Namespace) -> dict[str, nn.Module]:
    runs = {folder: load_run(folder) for folder in options.runs}
    options.image_size = options.image_size or runs[options.runs[0]].data.image_size
    pruned: Mapping[str, nn.Module] = {f"trained, {folder}": run.network("pruned") for folder, run in runs.items()}
    return {"dense": runs[options.runs[0]].network("dense"), **pruned}


def _paper(name: str) -> float | None:
    granularity, _, ratio = name.partition(", uniform, ")
    if not ratio:
        return None
    found = PAPER.get(round(float(ratio.rstrip("%")) / 100, 4))
    return None if found is None else found[granularity == "kernel"]


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=9, warmup=1, batch=1, devices=["cpu"])
    parser.add_argument("--granularities", nargs="+", default=["weight", "kernel"])
    parser.add_argument("--allocations", nargs="+", default=["uniform", "erk"])
    parser.add_argument("--ratios", type=float, nargs="+", default=sorted(PAPER), help="of uniform masks")
    parser.add_argument("--others", type=float, nargs="+", default=[0.9], help="ratios of other allocations")
    parser.add_argument("--dense", nargs="+", choices=[*ENGINES], default=[*DENSE])
    parser.add_argument("--runs", nargs="+", default=[], help="folders of finished runs, in place of random masks")
    parser.set_defaults(image_size=None)
    options = parsed(parser)
    if not options.runs:
        options.image_size = options.image_size or IMAGE_SIZE
    options.dense = list(dict.fromkeys([*options.dense, BASELINE]))
    return options


if __name__ == "__main__":
    main()
