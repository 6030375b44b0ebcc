"""The ways of adversarial training, by the names of the config group `hardening`."""

from collections.abc import Callable

from hydra_det.callbacks.hardening.adversarial_batch import AdversarialBatch
from hydra_det.callbacks.hardening.consistent_batch import ConsistentBatch
from hydra_det.callbacks.hardening.free_adversarial_batch import FreeAdversarialBatch

HARDENINGS: dict[str, Callable[..., AdversarialBatch]] = {
    "attacked": AdversarialBatch,
    "fast": AdversarialBatch,
    "coarse": AdversarialBatch,
    "task_wise": AdversarialBatch,
    "mixed": AdversarialBatch,
    "free": FreeAdversarialBatch,
    "consistent": ConsistentBatch,
}
