"""Latency: each part gets its own time, measured on functions that take a known time on a clock of our own."""

import numpy as np
import pytest
import torch

from hydra_det.evaluation.latency import Parts, measure_latency, network_parts
from hydra_det.modules.yolo.base import YoloDetector
from hydra_det.types import InputError


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def stage(self, durations):
        """A function that returns what it gets and takes the next of the durations, in seconds."""
        remaining = iter(durations)

        def run(value, confidence=None):
            self.now += next(remaining)
            return value

        return run


def test_each_part_gets_its_own_median_and_spread():
    clock = Clock()
    forward = [9.0, 9.0, 0.010, 0.030, 0.020, 0.050]  # two of warm-up, four counted
    decode = [9.0, 9.0, 0.004, 0.001, 0.002, 0.003]
    # From the confidence of use on, then from COCO's on.
    nms = [9.0, 9.0, 9.0, 9.0, 0.001, 0.100, 0.001, 0.200, 0.001, 0.300, 0.005, 0.400]
    network = Parts(clock.stage(forward), clock.stage(decode), clock.stage(nms))
    latency = measure_latency({"net": network}, [torch.zeros(2, 3, 32, 64)], warmup=2, repeats=4, clock=clock)["net"]
    # By hand, with linear interpolation between the sorted four values: quartiles at 3/4, 6/4 and 9/4 of the way.
    assert latency["forward"] == pytest.approx({"median_ms": 25.0, "iqr_ms": 35.0 - 17.5})
    assert latency["decode"] == pytest.approx({"median_ms": 2.5, "iqr_ms": 3.25 - 1.75})
    assert latency["nms"] == pytest.approx({"median_ms": 1.0, "iqr_ms": 2.0 - 1.0})
    # The totals of the iterations are 15, 32, 23 and 58 ms; not the sum of the medians.
    assert latency["total"]["median_ms"] == pytest.approx(27.5)
    assert latency["confidence"] == 0.5
    assert latency["coco"]["nms"] == pytest.approx({"median_ms": 250.0, "iqr_ms": 325.0 - 175.0})
    assert latency["coco"]["total"]["median_ms"] == pytest.approx((231 + 322) / 2)  # of 114, 231, 322 and 453 ms
    assert latency["candidates"] is latency["coco"]["candidates"] is None
    assert (latency["batch_size"], latency["image_size"], latency["repeats"]) == (2, [32, 64], 4)
    assert (latency["device"], latency["dtype"], latency["threads"]) == ("cpu", "float32", torch.get_num_threads())
    assert latency["device_name"]


def test_images_are_used_in_turn_and_handed_from_part_to_part():
    images = [torch.full((1, 3, 8, 8), float(value)) for value in range(3)]
    seen: list[tuple[tuple[str, int], float]] = []

    def nms(decoded, confidence):
        seen.append((decoded, confidence))

    network = Parts(lambda batch: int(batch[0, 0, 0, 0]), lambda raw: ("decoded", raw), nms)
    measure_latency({"net": network}, images, confidence=0.25, warmup=1, repeats=4)
    assert seen == [(("decoded", value), floor) for value in (0, 1, 2, 0, 1) for floor in (0.25, 0.001)]


def test_candidates_are_a_mean_per_image_outside_the_timing():
    clock = Clock()
    counts = {0.5: iter([10, 30]), 0.001: iter([100, 500])}

    def count(decoded, confidence):
        clock.now += 5.0
        return next(counts[confidence])

    nothing = clock.stage([0.0] * 8)
    network = Parts(nothing, nothing, nothing, count)
    latency = measure_latency({"net": network}, [torch.zeros(4, 3, 8, 8)], warmup=0, repeats=2, clock=clock)["net"]
    assert latency["candidates"] == 20 / 4
    assert latency["coco"]["candidates"] == 300 / 4
    assert latency["total"] == latency["coco"]["total"] == {"median_ms": 0.0, "iqr_ms": 0.0}


def test_nms_of_a_detector_starts_at_the_confidence_of_use():
    maps = torch.zeros(1, 1, 2, 2, 6)  # one anchor, one class
    maps[..., 5] = 30.0  # certain of the class, so that the confidence is that of an object
    maps[..., 4] = torch.tensor([0.9, 0.4, 0.01, 0.0001]).logit().view(1, 1, 2, 2)
    network = YoloDetector(num_classes=1, anchors=[[8, 8]], strides=[32])
    parts = network_parts(network, lambda batch: [maps], (64, 64))
    candidates = parts.decode(parts.forward(torch.zeros(1, 3, 64, 64)))
    assert [len(parts.nms(candidates, floor)[0].boxes) for floor in (0.5, 0.3, 0.001)] == [1, 2, 3]
    assert [network.count_candidates(candidates, confidence=floor) for floor in (0.5, 0.3, 0.001)] == [1, 2, 3]


def test_networks_take_turns_on_the_same_image_and_a_slow_minute_falls_on_all():
    clock = Clock()
    order: list[tuple[str, float]] = []

    def network(name, duration):
        def forward(batch):
            order.append((name, float(batch.max())))
            # The machine becomes ten times slower half way.
            clock.now += duration * (1 if len(order) <= 8 else 10)

        return Parts(forward, lambda raw: raw, lambda decoded, confidence: decoded)

    images = [torch.full((1, 3, 8, 8), float(value)) for value in range(2)]
    networks = {"dense": network("dense", 0.2), "pruned": network("pruned", 0.1)}
    latency = measure_latency(networks, images, warmup=0, repeats=8, clock=clock)
    assert order[:6] == [("dense", 0), ("pruned", 0), ("pruned", 1), ("dense", 1), ("dense", 0), ("pruned", 0)]
    assert latency["dense"]["forward"]["median_ms"] == pytest.approx(2 * latency["pruned"]["forward"]["median_ms"])


def test_no_gradients_and_no_inference_tensors():
    weight = torch.ones(1, requires_grad=True)
    raws = []
    network = Parts(lambda batch: raws.append(batch * weight), lambda raw: raw, lambda decoded, confidence: decoded)
    measure_latency({"net": network}, [torch.zeros(1, 3, 8, 8)], warmup=0, repeats=1)
    assert not raws[0].requires_grad
    assert not raws[0].is_inference()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        ([], {}, "at least one batch"),
        ([torch.zeros(3, 8, 8)], {}, "batch 0: expected"),
        ([torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 16)], {}, "batch 1: expected"),
        ([torch.zeros(1, 3, 8, 8)], {"repeats": 0}, "repeats >= 1"),
        ([torch.zeros(1, 3, 8, 8)], {"warmup": -1}, "warmup >= 0"),
        ([torch.zeros(1, 3, 8, 8)], {"confidence": 0.0}, r"confidence: expected a number in \[0.001, 1\], got 0.0"),
        ([torch.zeros(1, 3, 8, 8)], {"confidence": 1.5}, "got 1.5"),
        ([torch.zeros(1, 3, 8, 8)], {"confidence": "half"}, "got 'half'"),
    ],
)
def test_wrong_arguments(images, settings, message):
    with pytest.raises(InputError, match=message):
        measure_latency({"net": Parts(np.array, np.array, np.multiply)}, images, **settings)


@pytest.mark.gpu
def test_waits_for_the_device():
    matrix = torch.randn(8192, 8192, device="cuda")
    network = Parts(lambda batch: matrix @ matrix @ matrix, lambda raw: raw, lambda decoded, confidence: decoded)
    latency = measure_latency({"net": network}, [torch.zeros(1, 3, 8, 8, device="cuda")], repeats=5)["net"]
    # Two products of 2 * 8192^3 operations each take any device a millisecond, which an unsynchronised clock misses.
    assert latency["forward"]["median_ms"] > 1.0
    assert latency["nms"]["median_ms"] < 1.0
    assert latency["device"] == "cuda"
