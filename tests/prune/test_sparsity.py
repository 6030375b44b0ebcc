"""Counts against numpy, and the check that finds a single wrong unit."""

import numpy as np
import pytest
import torch

from hydra_det.prune.sparsity import check_sparsity, count_sparsity

SHAPES = {"stem": (8, 3, 3, 3), "reduce": (4, 8, 1, 1), "head": (5, 4, 3, 3)}


def random_masks(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.random(shape) < 0.4 for name, shape in SHAPES.items()}


def to_torch(arrays):
    return {name: torch.tensor(array) for name, array in arrays.items()}


def test_counts_of_weights():
    arrays = random_masks()
    count = count_sparsity(to_torch(arrays), granularity="weight")
    total, kept = sum(a.size for a in arrays.values()), sum(np.count_nonzero(a) for a in arrays.values())
    assert (count["total"], count["kept"], count["pruned"]) == (total, kept, total - kept)
    for layer, (name, array) in zip(count["layers"], arrays.items(), strict=True):
        kept = np.count_nonzero(array)
        assert layer == {
            "name": name,
            "shape": list(array.shape),
            "units": array.size,
            "units_kept": kept,
            "total": array.size,
            "kept": kept,
            "pruned": array.size - kept,
        }


def test_counts_of_kernels():
    kernels = {name: np.random.default_rng(1).random(shape[:2]) < 0.4 for name, shape in SHAPES.items()}
    arrays = {name: np.broadcast_to(kernels[name][:, :, None, None], shape) for name, shape in SHAPES.items()}
    count = count_sparsity(to_torch(arrays), granularity="kernel")
    for layer, (name, array) in zip(count["layers"], arrays.items(), strict=True):
        assert (layer["units"], layer["units_kept"]) == (kernels[name].size, np.count_nonzero(kernels[name]))
        assert (layer["total"], layer["kept"]) == (array.size, np.count_nonzero(array))


def first_kept(units, kept, shape, granularity):
    flat = torch.arange(units) < kept
    return flat.view(shape) if granularity == "weight" else flat.view(*shape[:2], 1, 1).expand(shape)


@pytest.mark.parametrize(("granularity", "units"), [("weight", 180), ("kernel", 20)])
def test_one_unit_more_or_less_is_refused(granularity, units):
    shape = (5, 4, 3, 3)
    exact = units // 10  # at ratio 0.9
    for off in (-1, 0, 1):
        masks = {
            "fine": first_kept(units, exact, shape, granularity),
            "odd": first_kept(units, exact + off, shape, granularity),
        }
        count = count_sparsity(masks, granularity=granularity)
        if off == 0:
            check_sparsity(count, 0.9)
        else:
            with pytest.raises(ValueError, match=f"layer odd: expected {exact} of {units} .* found {exact + off}"):
                check_sparsity(count, 0.9)


def test_right_in_total_and_wrong_in_a_layer_is_refused():
    masks = {name: first_kept(20, kept, (20, 1, 1, 1), "weight") for name, kept in (("full", 6), ("empty", 4))}
    count = count_sparsity(masks, granularity="weight")
    assert count["kept"] == 10
    with pytest.raises(ValueError, match="layer full"):
        check_sparsity(count, 0.75)
