"""The order of the images over epochs and processes."""

import pytest

from hydra_det.data import sampler
from hydra_det.data.dataset import DetectionDataset
from hydra_det.data.sampler import EpochSampler

TEN = DetectionDataset([None] * 10, image_size=32)  # type: ignore[list-item]


def order(made: EpochSampler, epoch: int) -> list[tuple[int, int]]:
    made.set_epoch(epoch)
    return list(made)


def test_every_epoch_has_its_own_order_whatever_came_before() -> None:
    first = EpochSampler(TEN, seed=4, shuffle=True)
    orders = [order(first, epoch) for epoch in range(3)]
    assert orders[2] == order(EpochSampler(TEN, seed=4, shuffle=True), 2)
    assert orders[2] != order(EpochSampler(TEN, seed=5, shuffle=True), 2)
    assert [index for _, index in orders[0]] != [index for _, index in orders[1]]
    for epoch, pairs in enumerate(orders):
        assert {pair[0] for pair in pairs} == {epoch}
        assert sorted(index for _, index in pairs) == list(range(10))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 3, 4, 16])
def test_processes_share_all_images_evenly(monkeypatch: pytest.MonkeyPatch, world: int, shuffle: bool) -> None:
    shares = []
    for rank in range(world):
        monkeypatch.setattr(sampler, "_place", lambda rank=rank: (rank, world))
        made = EpochSampler(TEN, seed=0, shuffle=shuffle)
        share = [index for _, index in made]
        assert len(share) == len(made)
        shares.append(share)
    assert len({len(share) for share in shares}) == 1
    together = [index for share in shares for index in share]
    assert set(together) == set(range(10))
    assert len(together) - 10 < world, "no more repeats than needed"


def test_evaluation_is_in_file_order() -> None:
    assert list(EpochSampler(TEN, seed=3, shuffle=False)) == [(0, index) for index in range(10)]
