"""Does 2:4 sparsity make the 1x1 convolutions of YOLOv3 faster on a GPU?

python -m benchmarks.semi_structured
python -m benchmarks.semi_structured --batch 8

PyTorch has sparse kernels for matrix products in half precision, not for convolutions. A 1x1 convolution is a product
of its weight [O, I] with the map [I, B * H * W]. Each shape among the 1x1 layers is timed as a convolution, as a dense
product and as a sparse one, in turns, on maps that lie as the product wants them. Needs compute capability 8.0.
"""

import argparse
import statistics
from collections import Counter
from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from torch.sparse import to_sparse_semi_structured

from benchmarks.interleaved import parsed, time_in_turns, timing_options
from benchmarks.measured import Row
from benchmarks.report import report
from benchmarks.subjects import network
from hydra_det.compaction.sizes import map_sizes
from hydra_det.pruning.granularity import Blocks
from hydra_det.pruning.masks import top_k


def main() -> None:
    """A line for every shape, and the sum over all layers."""
    options = _options()
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0):
        raise SystemExit("expected a GPU of compute capability 8.0 or later for 2:4 products, found none")
    net = network(options.model)
    sizes = map_sizes(net, options.image_size)
    shapes = Counter(
        (layer.out_channels, layer.in_channels, *sizes[name][0])
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
    )
    rows: list[Row] = []
    whole = dict.fromkeys(("convolution", "dense", "sparse"), 0.0)
    for (outputs, inputs, height, width), layers in shapes.items():
        times = _milliseconds(outputs, inputs, height, width, options)
        for name, milliseconds in times.items():
            whole[name] += layers * milliseconds
        rows.append(_row(f"{outputs} x {inputs}", f"{height} x {width}", layers, times))
    rows.append(_row("all", None, shapes.total(), whole))
    title = f"1x1 layers of {options.model}, {options.image_size} px, batch {options.batch}, fp16, cuda"
    report(title, rows, options=options, notes=[f"Medians of {options.rounds} rounds in turns."])


def _row(shape: str, maps: str | None, layers: int, times: Mapping[str, float]) -> Row:
    return {
        "O x I": shape,
        "map": maps,
        "layers": layers,
        "convolution, ms": times["convolution"],
        "dense product, ms": times["dense"],
        "2:4 product, ms": times["sparse"],
        "convolution / 2:4": times["convolution"] / times["sparse"],
    }


def _milliseconds(outputs: int, inputs: int, height: int, width: int, options: argparse.Namespace) -> dict[str, float]:
    """Median of the three ways to compute one layer, after their answers were compared."""
    outputs += -outputs % 32  # the sparse kernels want multiples; only the heads have others
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, inputs, 1, 1, generator=generator)
    kept = top_k(Blocks().unit_scores(weight), weight.numel() // 2)
    weight = (weight * Blocks().expand(kept, tuple(weight.shape))).half().cuda()
    images = torch.randn(options.batch, inputs, height, width, generator=generator).half().cuda()
    images = images.contiguous(memory_format=torch.channels_last)
    columns = images.permute(0, 2, 3, 1).reshape(-1, inputs)  # [B * H * W, I]
    matrix = weight.flatten(1)
    sparse = to_sparse_semi_structured(matrix)
    ways = {
        "convolution": partial(F.conv2d, images, weight.contiguous(memory_format=torch.channels_last)),
        "dense": partial(F.linear, columns, matrix),
        "sparse": partial(F.linear, columns, sparse),
    }
    wanted = ways["convolution"]().permute(0, 2, 3, 1).reshape(-1, outputs)
    for name in ("dense", "sparse"):
        torch.testing.assert_close(ways[name](), wanted, rtol=2e-2, atol=2e-1)
    seconds = time_in_turns(ways, rounds=options.rounds, warmup=options.warmup, device="cuda")
    return {name: statistics.median(values) * 1000 for name, values in seconds.items()}


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=50, warmup=10, batch=1, devices=["cuda"])
    return parsed(parser)


if __name__ == "__main__":
    main()
