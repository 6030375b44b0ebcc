"""The order of the images over epochs and processes."""

from itertools import chain
from typing import Any

import pytest

from hydra_det.data import sampler
from hydra_det.data.dataset import DetectionDataset
from hydra_det.data.sampler import EpochSampler, SampleKey

TEN = DetectionDataset([None] * 10, image_size=32)  # type: ignore[list-item]


def order(made: EpochSampler, epoch: int) -> list[SampleKey]:
    made.set_epoch(epoch)
    return list(made)


def test_every_epoch_has_its_own_order_whatever_came_before() -> None:
    first = EpochSampler(TEN, seed=4, shuffle=True)
    orders = [order(first, epoch) for epoch in range(3)]
    assert orders[2] == order(EpochSampler(TEN, seed=4, shuffle=True), 2)
    assert orders[2] != order(EpochSampler(TEN, seed=5, shuffle=True), 2)
    assert [key.item for key in orders[0]] != [key.item for key in orders[1]]
    for epoch, keys in enumerate(orders):
        assert {key.epoch for key in keys} == {epoch}
        assert sorted(key.item for key in keys) == list(range(10))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 3, 4, 16])
def test_processes_share_all_images_evenly(monkeypatch: pytest.MonkeyPatch, world: int, shuffle: bool) -> None:
    shares = []
    for rank in range(world):
        monkeypatch.setattr(sampler, "_place", lambda rank=rank: (rank, world))
        made = EpochSampler(TEN, seed=0, shuffle=shuffle)
        share = [key.item for key in made]
        assert len(share) == len(made)
        shares.append(share)
    assert len({len(share) for share in shares}) == 1
    together = [index for share in shares for index in share]
    assert set(together) == set(range(10))
    assert len(together) - 10 < world, "no more repeats than needed"


def test_evaluation_is_in_file_order() -> None:
    assert list(EpochSampler(TEN, seed=3, shuffle=False)) == [(0, index, None) for index in range(10)]


def sizes_of(epoch: int, **options: Any) -> list[int | None]:
    made = EpochSampler(TEN, seed=3, shuffle=True, sizes=[64, 96, 128, 160], batch_size=3, **options)
    made.set_epoch(epoch)
    return [key.size for key in made]


def test_a_batch_has_one_size_and_others_have_others() -> None:
    batches = [sizes_of(epoch)[start : start + 3] for epoch in range(8) for start in range(0, 10, 3)]
    assert all(len(set(batch)) == 1 for batch in batches)
    assert {batch[0] for batch in batches} == {64, 96, 128, 160}
    assert sizes_of(2) == sizes_of(2) != sizes_of(3)


def test_all_processes_show_a_batch_at_the_same_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(2):
        monkeypatch.setattr(sampler, "_place", lambda rank=rank: (rank, 2))
        shares.append(sizes_of(1))
    assert shares[0] == shares[1]
    assert len(shares[0]) == 5


def test_sizes_do_not_change_the_order() -> None:
    plain = EpochSampler(TEN, seed=3, shuffle=True)
    sized = EpochSampler(TEN, seed=3, shuffle=True, sizes=[64, 96], batch_size=3)
    assert [key.item for key in plain] == [key.item for key in sized]


@pytest.mark.parametrize("world", [1, 2, 5])
def test_the_batches_of_a_sample_go_round_the_processes(monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    alone = sampler.sample_batches(50, images=10, batch_size=3, seed=1)
    assert [len(made) for made in alone] == [3, 3, 3, 1]
    items = [key.item for made in alone for key in made]
    assert len(set(items)) == 10
    assert items != sorted(items)
    assert items != [key.item for made in sampler.sample_batches(50, images=10, batch_size=3, seed=2) for key in made]
    assert len([*chain(*sampler.sample_batches(7, images=10, batch_size=3, seed=1))]) == 7, "all there are"
    shares = []
    for rank in range(world):
        monkeypatch.setattr(sampler, "_place", lambda rank=rank: (rank, world))
        shares.append(sampler.sample_batches(50, images=10, batch_size=3, seed=1))
    assert [share[turn] for turn in range(4) for share in shares if turn < len(share)] == alone
