"""A complete record with a different number in every place, so that a mix-up shows."""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from hydra_det.records.record import (
    AveragePrecision,
    Latency,
    NetworkMetrics,
    NetworkSize,
    Protocols,
    Record,
    Spread,
    Suppressed,
)


def precision(value: float) -> AveragePrecision:
    return AveragePrecision(
        map=value,
        map_50=value + 0.2,
        map_75=value + 0.1,
        map_small=None,
        map_medium=value,
        map_large=value + 0.05,
        mar_100=value + 0.15,
        map_per_class={"cat": value, "dog": None},
        detections_per_image=12.5,
    )


def network(clean: float, attacked: float | None) -> NetworkMetrics:
    return NetworkMetrics(
        clean=Protocols(coco=precision(clean), paper=precision(clean - 0.01)),
        attacked=None if attacked is None else Protocols(coco=precision(attacked), paper=precision(attacked - 0.01)),
    )


def latency(forward: float) -> Latency:
    return Latency(
        forward=Spread(median_ms=forward, iqr_ms=1.5),
        decode=Spread(median_ms=3.25, iqr_ms=0.25),
        nms=Spread(median_ms=2.5, iqr_ms=0.125),
        total=Spread(median_ms=forward + 5.75, iqr_ms=1.75),
        candidates=84.0,
        confidence=0.5,
        coco=Suppressed(
            nms=Spread(median_ms=9.5, iqr_ms=0.75),
            total=Spread(median_ms=forward + 12.75, iqr_ms=2.25),
            candidates=1234.5,
        ),
        batch_size=1,
        image_size=[416, 416],
        repeats=20,
        device="cpu",
        device_name="Example CPU 3000",
        dtype="float32",
        threads=2,
        load=0.5,
    )


def older(latency: Latency) -> Latency:
    """As it was recorded when NMS was timed from COCO's confidence on alone."""
    kept = {key: value for key, value in latency.items() if key not in ("confidence", "coco")}
    return cast(Latency, kept)


def size(parameters: int) -> NetworkSize:
    return NetworkSize(parameters=parameters, flops=900 * parameters, file_bytes=4 * parameters, peak_bytes=None)


def example_record(**changes: Any) -> Record:
    """A kernel-pruned run with attacked metrics, two stages reused; `changes` replace whole fields."""
    fields: dict[str, Any] = {
        "name": "deeplift_0.9",
        "created": "2030-01-02T03:04:05+00:00",
        "config": {"seed": 7, "choices": {"init": "deeplift_paper"}, "lr": 0.1},
        "seed": 7,
        "overrides": ["prune.ratio=0.9", "init=deeplift"],
        "versions": {"python": "3.12.1", "torch": "2.11.0", "hydra-det": None},
        "commit": "0123456789abcdef0123456789abcdef01234567-dirty",
        "dataset": {
            "name": "shapes",
            "fingerprint": "feed",
            "classes": ["disc"],
            "train": 2000,
            "val": 100,
            "test": 1234,
        },
        "sparsity": {
            "ratio_asked": 0.9,
            "granularity": "kernel",
            "allocation": "uniform",
            "budget": "parameters",
            "kept": 1_100,
            "pruned": 9_900,
            "total": 11_000,
            "layers": [
                {"name": "stem", "shape": [10, 10, 3, 3], "kept": 90, "pruned": 810},
                {"name": "head", "shape": [10, 1010, 1, 1], "kept": 1_010, "pruned": 9_090},
            ],
        },
        "stages": [
            {
                "name": "pretrain",
                "fingerprint": "a1",
                "seconds": 7_384.0,
                "reused": True,
                "folder": "stages/pretrain-a1",
            },
            {"name": "init_scores", "fingerprint": "b2", "seconds": 3.5, "reused": True, "folder": "stages/init-b2"},
            {"name": "train_scores", "fingerprint": "c3", "seconds": 125.0, "reused": False, "folder": "stages/c3"},
            {"name": "prune", "fingerprint": "d4", "seconds": 0.25, "reused": False, "folder": "stages/d4"},
            {"name": "finetune", "fingerprint": "e5", "seconds": 600.0, "reused": False, "folder": "stages/e5"},
        ],
        "metrics": {"dense": network(0.412, 0.313), "pruned": network(0.304, 0.245)},
        "latency": {"dense": latency(426.0), "pruned": latency(417.0), "compact": latency(301.0)},
        "sizes": {"dense": size(11_000), "pruned": size(11_000), "compact": size(7_000)},
        "attack": {"name": "pgd", "epsilon": 0.05, "step_size": 0.02, "steps": 5},
    }
    return Record(**(fields | changes))


# configuration: init, granularity, greyscale, and by how much its AP is above that of the first one
GRID = {
    "deeplift_paper, weight": ("deeplift_paper", "weight", False, 0.0),
    "deeplift_paper, kernel": ("deeplift_paper", "kernel", False, -0.04),
    "scaled, weight": ("scaled", "weight", False, -0.02),
    "scaled, kernel": ("scaled", "kernel", False, -0.05),
    "deeplift_paper, weight, greyscale": ("deeplift_paper", "weight", True, -0.08),
}


def grid(
    names: Iterable[str] = tuple(GRID),
    *,
    ratios: Iterable[float] = (0.0, 0.5, 0.9),
    seeds: Iterable[int] = range(5),
    resamples: int = 0,
) -> dict[str, Record]:
    """Records of some of `GRID` by folder, with noise; where nothing is pruned only colour makes a difference.

    AP falls with the ratio, the compact network gets smaller and faster with it.
    """
    return {
        f"{name.replace(', ', '_')}_{ratio}_seed{seed}": grid_record(name, ratio, seed, resamples=resamples)
        for name in names
        for ratio in ratios
        for seed in seeds
    }


def grid_record(name: str, ratio: float, seed: int, *, resamples: int = 0, **changes: Any) -> Record:
    """One run of `GRID`; `changes` replace whole fields."""
    init, granularity, greyscale, above = GRID[name]
    generator = np.random.default_rng([seed, round(100 * ratio), list(GRID).index(name)])
    level = np.random.default_rng(seed).normal(0.3, 0.01)  # a seed is one pretrained network
    noise = generator.normal(0, 0.005, size=4)
    effect = (above if ratio else min(0.0, above * greyscale)) - 0.2 * ratio
    dense, pruned = network(level + 0.1, level), network(level + 0.1 + effect + noise[0], level + effect + noise[1])
    if resamples:
        images = np.random.default_rng(9).normal(0, 0.01, size=resamples)  # the same ones for all runs
        for protocols in (pruned["clean"], pruned["attacked"]):
            assert protocols is not None
            own = generator.normal(0, 0.002, size=resamples)
            protocols["bootstrap"] = (protocols["coco"]["map"] + images + own).tolist()  # type: ignore[operator]
    kept = round(11_000 * (1 - ratio))
    slow, share = 426.0 + 2_000 * noise[2], (1 - ratio if granularity == "kernel" else 1 - ratio / 2)
    fields: dict[str, Any] = {
        "name": f"{name} {ratio} {seed}",
        "config": {"seed": seed, "choices": {"init": init, "prune": granularity}, "data": {"greyscale": greyscale}}
        | {"prune": {"granularity": granularity, "ratio": ratio}}
        | {"stage": {"finetune": {"epochs": 3}, "prune": {"callbacks": {"topk_mask": {"granularity": granularity}}}}},
        "seed": seed,
        "overrides": [f"init={init}", f"prune={granularity}", f"prune.ratio={ratio}", f"seed={seed}"],
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "sparsity": example_record().sparsity
        | {"ratio_asked": ratio, "granularity": granularity, "kept": kept, "pruned": 11_000 - kept},
        "metrics": {"dense": dense, "pruned": pruned},
        "latency": {
            "dense": latency(slow),
            "pruned": latency(slow + 1),
            "compact": latency(slow * share + 200 * noise[3]),
        },
        "sizes": {"dense": size(11_000), "pruned": size(11_000), "compact": size(round(11_000 * share))},
    }
    return example_record(**(fields | changes))
