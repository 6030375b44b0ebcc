"""What each kind of step of the five stages takes for one image: what `benchmarks.plan_grid` plans with.

python -m benchmarks.stage_times --save docs/stage_times.json
python -m benchmarks.stage_times --device cuda --batch 16 --rounds 10 --save docs/stage_times.json
python -m benchmarks.stage_times --device cuda --batch 16 --save docs/stage_times.json --precision bf16-mixed

Steps are those of `Detector` and the callbacks, on random images in memory: no loading, no Lightning, no logging. With
bf16-mixed weights are in channels_last, and attacks of training steps are in bfloat16 too (`model.channels_last=true
trainer.precision=bf16-mixed hardening.bf16=true`); attacks of an evaluation and DeepLIFT stay in float32, as in a run.
"""

import argparse
import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.interleaved import parsed, quartiles, time_in_turns, timing_options
from benchmarks.measured_steps import StepTimes, add, computed_on
from benchmarks.score_step import learning_scores
from benchmarks.subjects import CLASSES, OBJECTS, network, optimizer_of, random_batch
from hydra_det.attacks.gradient import PGD
from hydra_det.boxes import PADDING
from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.evaluation.bootstrap import resampled_precision
from hydra_det.evaluation.coco_map import coco_results, evaluate_protocols
from hydra_det.evaluation.matches import find_matches
from hydra_det.init.contributions import contributions
from hydra_det.init.rules import RULES
from hydra_det.init.targets import assigned
from hydra_det.modules.masked_conv import folded, make_masked
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.types import Batch, Detections
from tests.init.example import season

ATTACK = PGD(epsilon=0.05, step_size=0.02, steps=5)  # of conf/attack/pgd.yaml
MICRO_BATCH = 4  # of conf/init/deeplift.yaml
AP_IMAGES, RESAMPLES, DETECTIONS = 200, 200, 100  # the second one of conf/evaluation/default.yaml

CLOCK, PROCESSOR = "seconds on the clock", "seconds of the processor"

Step = Callable[[], object]


def main() -> None:
    """Time all kinds in turns, show them and write them down."""
    options = _options()
    steps = kinds(options)
    seconds = in_turns({name: step for name, (_, step) in steps.items()}, options)
    found = {name: _per_image(times, images=steps[name][0]) for name, times in seconds.items()}
    for name, (low, median, high) in found.items():
        print(f"{name:20} {median * 1000:10.2f} ms an image (quartiles {low * 1000:.2f}, {high * 1000:.2f})")
    if options.save:
        add(options.save, _measured(options, found))


def kinds(options: argparse.Namespace) -> dict[str, tuple[int, Step]]:
    """By name, how many images a step is for, and the step."""
    bf16 = options.precision == "bf16-mixed"
    order = torch.channels_last if bf16 else torch.contiguous_format
    made = random_batch(options.batch, options.image_size, options.device)
    batch = Batch(images=made["images"].contiguous(memory_format=order), targets=made["targets"])
    few = Batch(images=batch["images"][:MICRO_BATCH], targets=batch["targets"][:MICRO_BATCH])

    def fresh() -> Any:
        return network(options.model).to(options.device).to(memory_format=order)

    learning, judged = fresh(), season(fresh(), few["images"])
    scored = make_masked(fresh())
    half = functools.partial(torch.autocast, torch.device(options.device).type, torch.bfloat16, enabled=bf16)
    train, scores = training(learning, batch, half), score_training(scored, batch, half)
    evaluate = evaluation(judged, batch, half)
    count = options.batch
    return {
        "train_clean": (count, functools.partial(train, attacked=False)),
        "train_attacked": (count, functools.partial(train, attacked=True)),
        "score_clean": (count, functools.partial(scores, attacked=False)),
        "score_attacked": (count, functools.partial(scores, attacked=True)),
        "evaluate_clean": (count, functools.partial(evaluate, attacked=False)),
        "evaluate_attacked": (count, functools.partial(evaluate, attacked=True)),
        "deeplift": (len(few["targets"]), deeplift(judged, few)),
        "average_precision": (AP_IMAGES, precision_of_noise()),
    }


def in_turns(steps: Mapping[str, Step], options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of every step in every round; of the processor where one thread computes, so that others do not count."""
    clock = time.process_time if _clock(options) == PROCESSOR else time.perf_counter
    return time_in_turns(steps, rounds=options.rounds, warmup=options.warmup, device=options.device, clock=clock)


def training(net: Any, batch: Batch, half: Callable[[], Any]) -> Callable[..., None]:
    """A step in which weights learn, on clean or on attacked images."""
    net.train()
    optimizer = optimizer_of(net)

    def step(*, attacked: bool) -> None:
        images = _attacked(net, batch, half) if attacked else batch["images"]
        _learn(net, optimizer, images, batch, half)

    return step


def score_training(net: Any, batch: Batch, half: Callable[[], Any]) -> Callable[..., None]:
    """A step in which scores learn under masks of single weights, which are made anew after it."""
    optimizer, refresh = learning_scores(net)

    def step(*, attacked: bool) -> None:
        images = _attacked(net, batch, half) if attacked else batch["images"]
        _learn(net, optimizer, images, batch, half)
        refresh()

    return step


def evaluation(net: Any, batch: Batch, half: Callable[[], Any]) -> Callable[..., None]:
    """Forward, decode and suppression of clean or attacked images."""

    def step(*, attacked: bool) -> None:
        images = _attacked(net, batch, contextlib.nullcontext) if attacked else batch["images"]
        with torch.no_grad(), half():
            raw = net(images)
        net.detections([level.float() for level in raw])

    return step


def deeplift(net: Any, batch: Batch) -> Step:
    """DeepLIFT contributions of every weight, as conf/init/deeplift.yaml asks for them."""
    reference = torch.full_like(batch["images"], PADDING)
    coefficients = functools.partial(assigned, net, batch["targets"])

    def step() -> dict[str, Tensor]:
        made = contributions(net, batch["images"], reference, coefficients=coefficients, rule=RULES["rescale"]())
        return made.weights

    return step


def precision_of_noise() -> Step:
    """AP of random boxes, 100 an image, by both protocols, with resampled images: on the CPU, whatever the device."""
    generator = torch.Generator().manual_seed(0)

    def boxes(count: int) -> Tensor:
        corners = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 300
        return torch.cat([corners, corners + 20 + 80 * torch.rand(count, 2, generator=generator)], dim=1)

    def labels(count: int) -> Tensor:
        return torch.randint(0, CLASSES, (count,), generator=generator)

    ids = range(1, CLASSES + 1)
    results: list[Any] = []
    annotations: list[dict[str, Any]] = []
    for image in range(AP_IMAGES):
        found = Detections(boxes(DETECTIONS), torch.rand(DETECTIONS, generator=generator), labels(DETECTIONS))
        results += coco_results(image, found, category_ids=list(ids))
        for box, label in zip(boxes(OBJECTS).tolist(), labels(OBJECTS).tolist(), strict=True):
            width, height = box[2] - box[0], box[3] - box[1]
            about = {"id": len(annotations) + 1, "image_id": image, "category_id": label + 1, "iscrowd": 0}
            annotations.append({**about, "bbox": [box[0], box[1], width, height], "area": width * height})
    truth = {
        "images": [{"id": image, "width": 416, "height": 416} for image in range(AP_IMAGES)],
        "annotations": annotations,
        "categories": [{"id": number, "name": str(number)} for number in ids],
    }

    def step() -> None:
        evaluate_protocols(truth, results)
        resampled_precision(find_matches(truth, results), images=AP_IMAGES, count=RESAMPLES)

    return step


def _attacked(net: Any, batch: Batch, half: Callable[[], Any]) -> Tensor:
    with undisturbed(net), folded(net), half():
        return attacked_images(net, batch, ATTACK)


def _learn(net: Any, optimizer: torch.optim.Optimizer, images: Tensor, batch: Batch, half: Callable[[], Any]) -> None:
    optimizer.zero_grad()
    with half():
        loss = net.losses(net(images), batch["targets"]).total.mean()
    loss.backward()
    optimizer.step()


def _clock(options: argparse.Namespace) -> str:
    return PROCESSOR if options.device == "cpu" and torch.get_num_threads() == 1 else CLOCK


def _per_image(times: Sequence[float], *, images: int) -> tuple[float, float, float]:
    """Quartiles."""
    low, median, high = quartiles(times)
    return low / images, median / images, high / images


def _digits(seconds: float) -> float:
    """Four digits: no more can be measured."""
    return float(f"{seconds:.4g}")


def _measured(options: argparse.Namespace, found: Mapping[str, tuple[float, float, float]]) -> StepTimes:
    command = f"python -m benchmarks.stage_times --device {options.device} --batch {options.batch}"
    command += f" --precision {options.precision} --rounds {options.rounds} --warmup {options.warmup}"
    command += f" --threads {options.threads}" if options.threads else ""
    return StepTimes(
        **computed_on(options.device),
        model=options.model,
        image_size=options.image_size,
        batch=options.batch,
        precision=options.precision,
        rounds=options.rounds,
        clock=_clock(options),
        command=command,
        seconds={name: _digits(median) for name, (_, median, _) in found.items()},
        quartiles={name: [_digits(low), _digits(high)] for name, (low, _, high) in found.items()},
    )


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=3, warmup=1, batch=2, table=False)
    parser.add_argument("--precision", choices=["float32", "bf16-mixed"], default="float32")
    parser.add_argument("--save", type=Path, help="a JSON file that this measurement is added to")
    return parsed(parser)


if __name__ == "__main__":
    main()
