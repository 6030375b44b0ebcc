"""What a network answers on its first test images: how long a pass takes, what gradients it has, what to doubt."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from hydra_det.attacks.base import Attack, Losses, evaluate, gradient_of
from hydra_det.attacks.diagnosis import Diagnosis, diagnose
from hydra_det.attacks.objectives.registry import OBJECTIVES
from hydra_det.callbacks.hardening.adversarial_batch import CLEAN
from hydra_det.callbacks.hardening.attacked_images import content_region, losses_of
from hydra_det.data.dataset import collate
from hydra_det.data.sampler import SampleKey
from hydra_det.evaluation.alarms import find_alarms, rise_alarm
from hydra_det.finished.scored import Scored
from hydra_det.finished.suite.settings import PROTOCOL, TRANSFER, SuiteSettings
from hydra_det.modules.masked_conv import make_dense
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.pipeline import build
from hydra_det.records.record import Protocols
from hydra_det.records.robustness import Alarm
from hydra_det.types import Batch

DIAGNOSED = 8  # images


def estimate_seconds(run: Scored, asked: SuiteSettings) -> dict[str, float]:
    """Seconds of every attack on all test images, from two passes over one batch."""
    with _losses_on_images(run, asked.network, run.data.evaluation_batch_size) as (batch, losses):
        gradient = {
            name: _seconds(lambda loss=losses[name]: gradient_of(loss, batch["images"]), batch["images"].device)  # type: ignore[misc]
            for name in {_objective(attack) for attack in asked.attacks.values()}
        }
        forward = _seconds(lambda: evaluate(losses["total"], batch["images"]), batch["images"].device)
    batches = len(run.data.splits["test"].records) / len(batch["targets"])
    return {
        name: batches * (attack.cost.gradients * gradient[_objective(attack)] + (attack.cost.forwards + 2) * forward)
        for name, attack in asked.attacks.items()
    }


def _objective(attack: Attack) -> str:
    """That is asked for most often; that of the loss where it cannot be told."""
    name = getattr(attack, "objective", "total")
    return name if name in OBJECTIVES else "total"


def diagnose_network(run: Scored, network: str, *, epsilon: float, padding: bool = False) -> Diagnosis:
    """What gradients a network has, with `padding` by letterbox padding, too."""
    with _losses_on_images(run, network, DIAGNOSED) as (batch, losses):
        region = content_region(batch, padding=padding)
        return diagnose(batch["images"], losses, region=region, epsilon=epsilon)


def doubts(
    asked: SuiteSettings, metrics: Mapping[str, Protocols], seen: Diagnosis, *, combined: Protocols | None
) -> list[Alarm]:
    """The alarms of a suite.

    Args:
        asked: the suite.
        metrics: AP without an attack and under every one.
        seen: the gradients of the network.
        combined: AP under the worst case; None: there is none.
    """
    maps = {name: protocols["coco"]["map"] or 0.0 for name, protocols in metrics.items()}
    inside = [name for name in asked.inside if name != CLEAN]
    alarms = find_alarms(
        maps[CLEAN],
        maps,
        inside=inside,
        combined=None if combined is None else combined["coco"]["map"],
        guided={name for name in inside if name != TRANSFER and asked.attacks[name].cost.gradients},
        zero_gradients=seen.zero_gradients,
        rising=seen.rising,
    )
    if asked.axis:  # attacks of different strengths on purpose: only the first two alarms mean something
        ordered = [] if asked.axis == PROTOCOL else [[maps[name] for name in asked.configs]]
        return [*alarms[:2], *(rise_alarm(maps[CLEAN], rising) for rising in ordered)]
    return alarms


@contextmanager
def _losses_on_images(run: Scored, network: str, images: int) -> Iterator[tuple[Batch, Losses]]:
    """The first test images and the losses of the network on them, on the device and in the precision of scores."""
    data = run.data
    trainer = build.bare_trainer(run.scoring_config)
    device = trainer.strategy.root_device
    samples = data.dataset("test")
    batch = collate([samples[SampleKey(0, index)] for index in range(min(images, len(samples)))])
    batch = data.transfer_batch_to_device(batch, device, 0)
    net = make_dense(run.network(network)).to(device)
    with undisturbed(net), trainer.precision_plugin.forward_context():
        yield batch, losses_of(net, batch["targets"])


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of the second of two runs."""
    times = []
    for _ in range(2):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - start)
    return times[1]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
