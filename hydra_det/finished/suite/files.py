"""What a suite leaves in its folder, and whose folder that is."""

import csv
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra_det.files.atomic import write_atomically
from hydra_det.finished.in_engine import TORCH
from hydra_det.finished.scored import Scored
from hydra_det.finished.suite.settings import SuiteSettings
from hydra_det.records.added import without_added
from hydra_det.records.provenance import collect_versions, current_commit
from hydra_det.records.record import RecordError
from hydra_det.records.robustness import ROBUSTNESS, Origin, Robustness, read_robustness, version_of
from hydra_det.types import InputError

FILE, IMAGES = ROBUSTNESS, "images.csv"
SAME = ("run", "attack_seed", "dataset", "transfer")  # of the origin: with others it is another suite


def origin(run: Scored, asked: SuiteSettings) -> Origin:
    """Where the numbers of a suite come from."""
    return Origin(
        run=str(run.place),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=current_commit(),
        versions=collect_versions(),
        attack_seed=run.config["evaluation"]["attack_seed"],
        dataset=run.data.fingerprints["test"],
        transfer=None if asked.source is None else str(asked.source),
    )


def check_folder(folder: Path, run: Scored, asked: SuiteSettings) -> None:
    """Refuse a folder that holds another result, as when a suite is to go on with other settings."""
    if not (folder / FILE).is_file():
        return
    try:
        earlier = read_robustness(folder / FILE)
    except RecordError as error:
        raise InputError(str(error)) from error
    now, suite = origin(run, asked), f"{asked.name}, version {version_of(asked.name)}"
    images = len(run.data.splits["test"].records)
    about = {
        "network": asked.network,
        "engine": run.engine,
        "suite": suite,
        "suite.epsilon": asked.epsilon,
        "suite.padding": asked.padding,
        "images": images,
    }
    wanted = _identity(about, now, asked.configs)
    theirs = {
        "network": earlier["network"],
        "engine": earlier.get("engine", TORCH),
        "suite": f"{earlier['suite']}, version {earlier.get('version', 1)}",
        "suite.epsilon": earlier["epsilon"],
        "suite.padding": earlier.get("padding", False),
        "images": earlier["images"],
    }
    found = _identity(theirs, earlier["origin"], {entry["name"]: entry["config"] for entry in earlier["attacks"]})
    for key in wanted | found:
        if wanted.get(key) != found.get(key):
            raise InputError(
                f"{folder}: expected an empty folder, or one of this suite, got one with {key}={found.get(key)} "
                f"instead of {wanted.get(key)}; give another hydra.run.dir"
            )


def write_result(
    folder: Path,
    answer: Robustness,
    *,
    contributions: Mapping[str, Mapping[int, float]],
    chosen: Mapping[int, str],
) -> None:
    """Write the result, and beside it a line for every image.

    Args:
        folder: of the suite.
        answer: the result.
        contributions: what an image adds to AP, by attack and image.
        chosen: the attack of the worst case, by image.
    """
    write_atomically(folder / IMAGES, _images_table(contributions, chosen))
    write_atomically(folder / FILE, json.dumps(answer, indent=2, allow_nan=False) + "\n")


def _identity(about: Mapping[str, Any], whence: Origin, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """All that two results of one suite have in common, by the setting that a user would look at."""
    came_from: dict[str, Any] = dict(whence)
    attacks = {
        f"suite.attacks.{name}": json.dumps(without_added(config), sort_keys=True) for name, config in configs.items()
    }
    return {**about, **{key: came_from[key] for key in SAME}, **attacks}


def _images_table(contributions: Mapping[str, Mapping[int, float]], chosen: Mapping[int, str]) -> str:
    """CSV: an image a line, what it adds to AP under every attack, and the attack that was chosen for it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", *contributions, "worst"])
    for image in sorted(chosen):
        writer.writerow([image, *(found[image] for found in contributions.values()), chosen[image]])
    return text.getvalue()
