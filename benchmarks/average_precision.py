"""How long does COCO's average precision take, by hydra_det, by pycocotools alone, and by faster-coco-eval?

python -m benchmarks.average_precision
python -m benchmarks.average_precision --images 5000 --rounds 1 --warmup 0

hydra_det has faster-coco-eval compute it where that is installed (the extra `coco`), and pycocotools elsewhere, after
checks of its own. All get the same made-up objects and detections, of which some hit, and begin with
the dictionaries of COCO's format; they have to find the same figures. The default is a tenth of COCO's validation set.
"""

import argparse
import contextlib
import importlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.interleaved import chosen, compare, parsed, timing_options
from hydra_det.evaluation.coco_map import CocoResult, average_precision

PEER = "faster_coco_eval"
BASELINE = "pycocotools"
SIDE = 640.0  # of the images, pixels
OBJECTS = 7  # an image, as in COCO
HITS = 0.5  # share of the objects that are detected
TOLERANCE = 1e-9


def main() -> None:
    """Compare the figures, then time all in turns."""
    options = _options()
    truth, results = made_up(options.images, options.classes, options.detections)
    variants: dict[str, Callable[[], Any]] = {
        BASELINE: lambda: figures(COCO, COCOeval, truth, results),
        "hydra_det": lambda: average_precision(truth, results),
    }
    notes = []
    try:
        variants["faster-coco-eval"] = peer(truth, results)
    except ImportError as error:
        notes = [f"Without faster-coco-eval: {error}."]
    found = {name: run() for name, run in variants.items()}
    for name, theirs in found.items():
        ours = [theirs["map"], theirs["map_50"]] if name == "hydra_det" else theirs
        worst = float(np.abs(np.asarray(ours) - found[BASELINE][: len(ours)]).max())
        if worst > TOLERANCE:
            raise SystemExit(f"{name}: expected the figures of {BASELINE}, found a difference of {worst}")
    notes.append(f"All find AP {found[BASELINE][0]:.4f} and AP50 {found[BASELINE][1]:.4f}, equal to {TOLERANCE:.0e}.")
    title = f"AP of {options.images} images, {options.classes} classes, {options.detections} detections an image"
    compare(
        title, chosen(variants, baseline=BASELINE, options=options), baseline=BASELINE, options=options, notes=notes
    )


def figures(index: Any, evaluation: Any, truth: Any, results: Any) -> np.ndarray:
    """The twelve figures of COCO, by classes with the interface of pycocotools, which print. [12]"""
    with contextlib.redirect_stdout(io.StringIO()):
        objects = index()
        objects.dataset = {key: [dict(row) for row in rows] for key, rows in truth.items()}  # rows are written into
        objects.createIndex()
        done = evaluation(objects, objects.loadRes([dict(row) for row in results]), "bbox")
        done.evaluate()
        done.accumulate()
        done.summarize()
    return np.asarray(done.stats[:12])


def peer(truth: Any, results: Any) -> Callable[[], np.ndarray]:
    """The same by faster-coco-eval, which may be missing."""
    made = importlib.import_module(PEER)
    return lambda: figures(made.COCO, made.COCOeval_faster, truth, results)


def made_up(images: int, classes: int, detections: int) -> tuple[dict[str, list[dict[str, Any]]], list[CocoResult]]:
    """Objects of all sizes, and detections: some near objects and surer than the others, which lie anywhere."""
    generator = np.random.default_rng(0)

    def boxes(count: int) -> np.ndarray:
        sides = np.exp(generator.uniform(np.log(8), np.log(300), (count, 2)))
        return np.hstack([generator.uniform(0, 1, (count, 2)) * (SIDE - sides), sides])  # [count, 4] xywh

    annotations: list[dict[str, Any]] = []
    results: list[CocoResult] = []
    for image in range(1, images + 1):
        objects, labels = boxes(OBJECTS), generator.integers(classes, size=OBJECTS)
        hits = min(round(HITS * OBJECTS), detections)
        near = objects[:hits] + np.tile(objects[:hits, 2:], 2) * generator.uniform(-0.1, 0.1, (hits, 4))
        guesses = generator.integers(classes, size=detections - hits)
        for box, label in zip(objects.tolist(), labels.tolist(), strict=True):
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": label + 1, "bbox": box,
                "area": box[2] * box[3], "iscrowd": 0,
            })  # fmt: skip
        found = zip(
            np.vstack([near, boxes(detections - hits)]).tolist(),
            [*labels[:hits].tolist(), *guesses.tolist()],
            [*generator.uniform(0.3, 1, hits), *generator.uniform(0.01, 0.7, detections - hits)],
            strict=True,
        )
        results += [
            CocoResult(image_id=image, category_id=label + 1, bbox=box, score=score) for box, label, score in found
        ]
    return {
        "images": [{"id": image, "width": SIDE, "height": SIDE} for image in range(1, images + 1)],
        "categories": [{"id": label, "name": f"class {label}"} for label in range(1, classes + 1)],
        "annotations": annotations,
    }, results


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=3, warmup=0, model=None, devices=["cpu"])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=50, help="an image")
    return parsed(parser)


if __name__ == "__main__":
    main()
