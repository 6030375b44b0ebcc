"""Which job gets which device: none twice, those with room first, and nobody's place for whoever waits."""

import pytest

from hydra_det.errors import InputError
from hydra_det.sweeps import places
from hydra_det.sweeps.places import Places, devices_of, visible


def test_each_place_is_given_once():
    here = Places(["0", "1"], per_device=2)
    assert here.count == 4
    given = [here.take(1) or () for _ in range(4)]
    assert sorted(given) == [("0",), ("0",), ("1",), ("1",)]
    assert given[0] != given[1], "the emptier device first"
    assert here.take(1) is None
    here.give_back(("1",))
    assert not here.take_again(("0",)), "a job goes on where it was"
    assert here.take_again(("1",))
    assert here.take(1) is None


def test_the_next_place_of_a_device_is_for_whoever_waits_for_it():
    here = Places(["0", "1", "2"], per_device=2)
    assert here.take(1, but={"0"}) == ("1",)
    assert here.take(2, but={"1"}) == ("0", "2")
    assert here.take(2, but={"0", "1"}) is None, "though all have room"
    assert here.take(1, but={"0", "1", "2"}) is None


def test_a_job_may_have_several_devices():
    here = Places(["0", "1", "2"])
    assert here.take(2) == ("0", "1")
    assert here.take(2) is None, "one is left"
    assert here.take(1) == ("2",)
    here.give_back(("0", "1"))
    assert here.take(2) == ("0", "1")
    with pytest.raises(InputError, match=r"trainer.devices: expected at most 3, the devices of the launcher, got 4"):
        here.take(4)
    assert Places(["cpu"], per_device=2).take(2) == ("cpu",), "processes of a job share the CPU"


@pytest.mark.parametrize(("asked", "gpus", "found"), [
    ("auto", 0, ["cpu"]), ("auto", 2, ["0", "1"]), ("cpu", 2, ["cpu"]), ([1], 2, ["1"]), (1, 2, ["1"]),
])  # fmt: skip
def test_devices(monkeypatch, asked, gpus, found):
    monkeypatch.setattr(places.torch.cuda, "device_count", lambda: gpus)
    assert devices_of(asked) == found


@pytest.mark.parametrize(("asked", "said"), [
    ([2], "expected numbers of the 2 GPUs of this machine, got 2"),
    ([-1], "expected numbers of the 2 GPUs of this machine, got -1"),
    ([0, 0], "expected every GPU once"),
    ("gpu", "expected auto, cpu or numbers of GPUs"),
    ([], "expected auto, cpu or numbers of GPUs"),
    ([True], "expected auto, cpu or numbers of GPUs"),
])  # fmt: skip
def test_devices_that_are_none(monkeypatch, asked, said):
    monkeypatch.setattr(places.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=f"hydra.launcher.devices: {said}"):
        devices_of(asked)


def test_a_device_has_at_least_one_place():
    for wrong in (0, -1, 1.5, True, "2"):
        with pytest.raises(InputError, match=r"hydra.launcher.per_device: expected a whole number of at least 1"):
            Places(["0"], per_device=wrong)  # type: ignore[arg-type]


def test_a_job_sees_its_devices_alone(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible(("1", "3")) == "1,3"
    assert visible(("cpu",)) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5a,6")
    assert visible(("1", "2")) == "GPU-5a,6", "by what the launcher sees"
