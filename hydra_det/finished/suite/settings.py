"""What is asked of a suite, checked before any of its attacks runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra_det.attacks.base import Attack, changes_padding
from hydra_det.attacks.corruptions import Corruption
from hydra_det.callbacks.hardening.adversarial_batch import CLEAN
from hydra_det.finished.run import FinishedRun
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.store.store import fingerprint
from hydra_det.types import InputError, as_distance

SEVERITY = "severity"  # an axis of corruptions: no ball, no alarms
TRANSFER = "transfer"  # the attack of this name is made on another network
PROTOCOL = "protocol"  # attacks of several published protocols, each for itself
AXES = (None, "epsilon", "steps", SEVERITY, PROTOCOL)


class Source:
    """The network that transferred images are made on.

    Args:
        settings: as in `conf/evaluate.yaml`, with a run under `transfer`.
    """

    def __init__(self, settings: Config) -> None:
        self.run = FinishedRun(settings["transfer"], trusted=settings["trust"])
        self.network: str = settings["transfer_network"]
        network = self.network
        self.key = fingerprint({"network": network, "stage": self.run.stage(network).key, **self.run.variant(network)})

    def __str__(self) -> str:
        return f"{self.run.folder.resolve()}, {self.network}"


@dataclass(frozen=True)
class SuiteSettings:
    """A suite as it is asked for.

    Attributes:
        name: of the suite.
        network: a key of `run.NETWORKS`.
        epsilon: of the ball that the worst case is looked for in; None: no ball.
        padding: whether all attacks may change letterbox padding; else those that do are not in the worst case.
        axis: what differs from attack to attack on purpose, and rises, but for `protocol`; None: nothing does.
        configs: of the attacks, by their names in the suite.
        attacks: made of them.
        source: that images are transferred from; None: the suite has no such attack.
    """

    name: str
    network: str
    epsilon: float | None
    padding: bool
    axis: str | None
    configs: Mapping[str, dict[str, Any]]
    attacks: Mapping[str, Attack]
    source: Source | None

    @property
    def inside(self) -> list[str]:
        """What an attacker in the ball may do, which may also be nothing."""
        return [CLEAN, *(name for name, attack in self.attacks.items() if self._is_inside(attack))]

    def _is_inside(self, attack: Attack) -> bool:
        if self.epsilon is None or attack.epsilon > self.epsilon or attack.norm != "linf":
            return False
        return self.padding or not changes_padding(attack)


def read_settings(settings: Config, *, class_names: Sequence[str]) -> SuiteSettings:
    """The suite of a config.

    Args:
        settings: as in `conf/evaluate.yaml`.
        class_names: of the network that is attacked.

    Raises:
        InputError: something in it does not go together, or an attack cannot be made.
    """
    suite = settings["suite"]
    name, axis, configs = suite["name"], suite["axis"], dict(suite["attacks"])
    source = Source(settings) if settings["transfer"] else None
    _check_strength(axis, suite["epsilon"])
    if _allows_padding(suite["padding"], axis):
        configs = {member: {**config, "padding": True} for member, config in configs.items()}
    if CLEAN in configs:
        raise InputError(f"suite.attacks.{CLEAN}: expected another name, as this one means no attack")
    if source is None:
        configs.pop(TRANSFER, None)
    else:
        _check_transfer(source, name, configs, class_names)
    return SuiteSettings(
        name=name,
        network=settings["network"],
        epsilon=suite["epsilon"],
        padding=suite["padding"],
        axis=axis,
        configs=configs,
        attacks={name: _attack(name, config, axis=axis) for name, config in configs.items()},
        source=source,
    )


def _check_strength(axis: Any, epsilon: Any) -> None:
    if axis not in AXES:
        raise InputError(f"suite.axis: expected one of {', '.join(map(str, AXES))}, got {axis!r}")
    if axis == SEVERITY:
        if epsilon is not None:
            raise InputError(f"suite.epsilon: expected null, as corruptions have no ball, got {epsilon!r}")
    elif not isinstance(epsilon, int | float) or not 0 < epsilon <= 1:
        raise InputError(
            f"suite.epsilon: expected a distance in (0, 1], as 0.0314 for 8/255, got {as_distance(epsilon)}"
        )


def _allows_padding(padding: Any, axis: Any) -> bool:
    if not isinstance(padding, bool):
        raise InputError(f"suite.padding: expected true or false, got {padding!r}")
    if padding and axis == SEVERITY:
        raise InputError("suite.padding: expected false, as corruptions leave padding as it is, got true")
    return padding


def _check_transfer(source: Source, name: str, configs: Mapping[str, Any], class_names: Sequence[str]) -> None:
    if TRANSFER not in configs:
        raise InputError(f"transfer: expected a suite with the attack {TRANSFER}, got suite={name}")
    if source.run.class_names != class_names:
        raise InputError(
            f"transfer: expected a network for the classes {', '.join(class_names)}, got one for "
            f"{', '.join(source.run.class_names)}"
        )


def _attack(name: str, config: Config, *, axis: str | None) -> Attack:
    try:
        made: Any = build.instantiate(config)
    except InputError as error:
        raise InputError(f"suite.attacks.{name}: {error}") from error
    if made is None:
        raise InputError(f"suite.attacks.{name}: expected an attack, got none; leave it out instead")
    if (axis == SEVERITY) != isinstance(made, Corruption):
        wanted = "corruptions alone" if axis == SEVERITY else "suite=corruptions for corruptions"
        raise InputError(f"suite.attacks.{name}: expected {wanted}, got {type(made).__name__}")
    return made
