"""The ways of adversarial training, by the names of the config group `hardening`."""

from collections.abc import Callable

from hydra_det.callbacks.adversarial_batch import AdversarialBatch
from hydra_det.callbacks.consistent_batch import ConsistentBatch
from hydra_det.callbacks.free_adversarial_batch import FreeAdversarialBatch

HARDENINGS: dict[str, Callable[..., AdversarialBatch]] = {
    "attacked": AdversarialBatch,
    "fast": AdversarialBatch,
    "coarse": AdversarialBatch,
    "task_wise": AdversarialBatch,
    "free": FreeAdversarialBatch,
    "consistent": ConsistentBatch,
}
