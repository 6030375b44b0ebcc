"""What layers take in the engine, by the share of their units."""

import numpy as np
import pytest
from torch import nn

pytest.importorskip("numba")

from hydra_det.engines.sparse import prices
from hydra_det.engines.sparse.prices import SHARES, measure, milliseconds


def test_time_rises_with_the_share_and_equal_layers_are_timed_once(monkeypatch):
    layers = {
        "a": nn.Conv2d(32, 64, 3, padding=1),
        "b": nn.Conv2d(32, 64, 3, padding=1),
        "c": nn.Conv2d(8, 8, 3, 2, 1, groups=2),
    }
    asked, real = [], prices.seconds

    def counted(program, **options):
        asked.append(program)
        return real(program, **options)

    monkeypatch.setattr(prices, "seconds", counted)
    found = measure(layers, dict.fromkeys(layers, (20, 24)), kernels=False, threads=1)
    assert found["a"] is found["b"]
    assert len(asked) == 2 * (len(SHARES) + 3)  # of three shares torch's way, too
    for table in found.values():
        assert len(table) == len(SHARES)
        assert np.all(np.diff(table) >= 0)
    assert found["a"][2] > 2 * found["a"][0], "a tenth of the weights takes much longer than a hundredth"


@pytest.mark.parametrize("kernels", [False, True])
def test_what_is_timed_has_the_asked_share_of_its_units(monkeypatch, kernels):
    programs = []

    def kept(program, **_):
        programs.append(program)
        return 0.001

    monkeypatch.setattr(prices, "seconds", kept)
    measure({"a": nn.Conv2d(64, 64, 3, padding=1)}, {"a": (10, 10)}, kernels=kernels, threads=1)
    ours = [program for program in programs if not program.dense]
    sizes = [program.tables.kernel_weights.size + program.tables.weights.size for program in ours]
    assert np.allclose(np.array(sizes) / (64 * 64 * 9), SHARES, atol=0.02)
    if kernels:
        assert all(program.tables.weights.size == 0 for program in ours)


def test_between_shares_time_is_interpolated():
    table = [1.0 + 100 * share for share in SHARES]
    for share in (0.0, 0.005, 0.02, 0.3, 1.0):
        assert milliseconds(table, share) == pytest.approx(1 + 100 * share)
    assert milliseconds([0.001, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 0.0) == 0.0
