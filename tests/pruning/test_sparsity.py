"""Counts against numpy."""

import numpy as np
import torch

from hydra_det.pruning.sparsity import count_sparsity

SHAPES = {"stem": (8, 3, 3, 3), "reduce": (4, 8, 1, 1), "head": (5, 4, 3, 3)}


def test_counts_of_weights():
    rng = np.random.default_rng(0)
    arrays = {name: rng.random(shape) < 0.4 for name, shape in SHAPES.items()}
    count = count_sparsity({name: torch.tensor(array) for name, array in arrays.items()})
    total, kept = sum(a.size for a in arrays.values()), sum(np.count_nonzero(a) for a in arrays.values())
    assert (count["total"], count["kept"], count["pruned"]) == (total, kept, total - kept)
    for layer, (name, array) in zip(count["layers"], arrays.items(), strict=True):
        kept = np.count_nonzero(array)
        assert layer == {"name": name, "shape": list(array.shape), "kept": kept, "pruned": array.size - kept}
