"""Which jobs compute on which devices of a machine."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch

from hydra_det.errors import InputError

CPU = "cpu"


def devices_of(asked: Any) -> list[str]:
    """The devices that a launcher is to use, by their names: numbers of GPUs, or `cpu`.

    Args:
        asked: `auto`, `cpu`, or a list of numbers of GPUs.

    Raises:
        InputError: something else, or a GPU that is not there.
    """
    if asked == CPU:
        return [CPU]
    found = _gpus()
    if asked == "auto":
        return [str(number) for number in range(found)] or [CPU]
    numbers = list(asked) if isinstance(asked, Iterable) and not isinstance(asked, str) else [asked]
    if not numbers or not all(isinstance(number, int) and not isinstance(number, bool) for number in numbers):
        raise InputError(f"hydra.launcher.devices: expected auto, cpu or numbers of GPUs such as [0,1], got {asked!r}")
    if wrong := [number for number in numbers if not 0 <= number < found]:
        raise InputError(
            f"hydra.launcher.devices: expected numbers of the {found} GPUs of this machine, got {wrong[0]}"
        )
    if len(set(numbers)) < len(numbers):
        raise InputError(
            f"hydra.launcher.devices: expected every GPU once, got {numbers}; see hydra.launcher.per_device"
        )
    return [str(number) for number in numbers]


class Places:
    """The places of the devices, each of which one job has at a time.

    Args:
        devices: by name.
        per_device: places of each.
    """

    def __init__(self, devices: Sequence[str], *, per_device: int = 1) -> None:
        if not isinstance(per_device, int) or isinstance(per_device, bool) or per_device < 1:
            raise InputError(f"hydra.launcher.per_device: expected a whole number of at least 1, got {per_device!r}")
        self.per_device = per_device
        self._free = Counter(dict.fromkeys(devices, per_device))

    def __str__(self) -> str:
        devices = CPU if list(self._free) == [CPU] else f"GPU {', '.join(self._free)}"
        return f"{devices}: {self.per_device} at once{' on each' if len(self._free) > 1 else ''}"

    @property
    def count(self) -> int:
        """How many jobs of one device there can be at once."""
        return len(self._free) * self.per_device

    def take(self, count: int, *, but: Collection[str] = ()) -> tuple[str, ...] | None:
        """A place on each of so many devices, those with most room first; None where there are not as many now.

        Args:
            count: how many.
            but: devices whose next place somebody waits for.

        Raises:
            InputError: there never are.
        """
        if CPU in self._free:
            count = 1  # the processes of a job share it
        if count > len(self._free):
            raise InputError(
                f"trainer.devices: expected at most {len(self._free)}, the devices of the launcher, got {count}"
            )
        chosen = sorted(self._free.keys() - set(but), key=lambda device: (-self._free[device], device))[:count]
        return tuple(sorted(chosen)) if len(chosen) == count and self.take_again(chosen) else None

    def take_again(self, devices: Sequence[str]) -> bool:
        """Take a place on these very devices, if each has one."""
        if any(self._free[device] < 1 for device in devices):
            return False
        self._free.subtract(devices)
        return True

    def give_back(self, devices: Sequence[str]) -> None:
        """Make the places free again."""
        self._free.update(devices)


def visible(devices: Sequence[str]) -> str:
    """The value of `CUDA_VISIBLE_DEVICES` that shows a job its devices alone, by what this process sees of them."""
    if CPU in devices:
        return ""
    mine = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return ",".join(mine[int(device)] if mine else device for device in devices)


def _gpus() -> int:
    return torch.cuda.device_count()
