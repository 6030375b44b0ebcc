"""Who runs what several jobs want: one of them, and the others wait for its result without a device."""

from contextlib import ExitStack

from hydra_det.process import place, processes
from hydra_det.store.store import Store


def claim(store: Store, name: str, key: str, claimed: ExitStack) -> bool:
    """Whether a stage is to be run here, in all processes of this job; see `Store.claim_missing`."""

    def waiting() -> None:
        place.let_go()
        processes.still_waiting()

    def decide() -> bool:
        missing = store.claim_missing(name, key, claimed, meanwhile=waiting)
        if not missing:
            claimed.close()  # the next one need not wait until this job has its place again
        place.take_back(processes.still_waiting)
        return missing

    return processes.agreed(decide)
