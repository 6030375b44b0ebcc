"""A run that was told to stop ends before its next batch, also where what was raised then got lost."""

import pytest

from hydra_det.callbacks.watching.stop import Stop
from hydra_det.process import interrupts


@pytest.mark.parametrize("kind", ["train", "validation", "test"])
def test_it_looks_before_every_batch(kind):
    look = getattr(Stop(), f"on_{kind}_batch_start")
    look(None, None, None, 0)
    interrupts._asked.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            look(None, None, None, 0)
    finally:
        interrupts._asked.clear()
