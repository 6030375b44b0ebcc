"""What `evaluate.py` is asked to score: the networks of a finished run, or weights of anybody's."""

import re
from collections.abc import Sequence

from hydra_det.finished.given import NETWORK as GIVEN
from hydra_det.finished.given import GivenWeights
from hydra_det.finished.in_engine import check_engine
from hydra_det.finished.run import FinishedRun
from hydra_det.finished.scored import Scored
from hydra_det.pipeline.build import Config
from hydra_det.types import InputError

OF_WEIGHTS = ("model", "data", "names", "evaluation", "trainer", "seed", "store")  # settings that a run has itself


def open_scored(settings: Config, *, typed: Sequence[str] = ()) -> tuple[Scored, str]:
    """What a config asks for, and which of its networks: of the run under `run`, or the weights under `model`.

    Args:
        settings: as in `conf/evaluate.yaml`.
        typed: the words of the command.

    Raises:
        InputError: neither is given, or both; images= is no number of images; suite.padding=true without a suite; an
            engine that is not there.
    """
    images = settings["images"]
    if images is not None and (not isinstance(images, int) or isinstance(images, bool) or images < 1):
        raise InputError(f"images: expected a whole number of at least 1, or null for all test images, got {images!r}")
    if settings["suite"]["padding"] and not settings["suite"]["attacks"]:
        raise InputError("suite.padding: expected a suite beside it, got none; for one attack give attack.padding=true")
    check_engine(settings["engine"])
    scored, network = _open(settings, typed)
    scored.engine = settings["engine"]
    scored.data.most_tested = images
    return scored, network


def _open(settings: Config, typed: Sequence[str]) -> tuple[Scored, str]:
    run, model, data = settings["run"], settings.get("model"), settings.get("data")
    if run is not None:
        if odd := [word for word in typed if re.split(r"[.=@]", word.lstrip("+~"))[0] in OF_WEIGHTS]:
            raise InputError(f"{odd[0]}: expected nothing of the kind beside run=, which has its own; leave it out")
        finished = FinishedRun(run, attack=settings["attack"], trusted=settings["trust"])
        return finished, "pruned" if settings["network"] is None else settings["network"]
    weights = None if model is None else model.get("weights")
    parts = {"model": model, "model.weights": weights, "data": data}
    if missing := [f"{key}=" for key, part in parts.items() if part is None]:
        raise InputError(
            "expected run=, the folder of a finished run, or model=, model.weights= and data=; got no "
            f"{' and no '.join(missing if len(missing) < len(parts) else ['run=', *missing])}"
        )
    return GivenWeights(settings), GIVEN
