"""What a record says of a run besides what was measured: its name, its images, its masks and its attack."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra_det.attacks import ATTACKS
from hydra_det.data.datamodule import DetectionData
from hydra_det.modules.weights import read_weights
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pruning.sparsity import count_sparsity
from hydra_det.records.record import Attack
from hydra_det.store.store import fingerprint


def run_name(config: Config, choices: Mapping[str, str]) -> str:
    """What a run is called in tables: `shapes_yolov3_nano_scaled_weight_0.75_seed0`."""
    prune = config["prune"]
    words = [choices[group] for group in ("data", "model", "init", "prune")]
    words += [prune["allocation"]] if prune["allocation"] != "uniform" else []
    return "_".join([*words, str(prune["ratio"]), f"seed{config['seed']}"])


def images_fingerprint(data: DetectionData) -> str:
    """Of all images and boxes of a run."""
    return fingerprint(data.fingerprints)


def dataset(data: DetectionData) -> dict[str, Any]:
    """The images: whose they are, their fingerprint, their classes, and how many each split has."""
    return {
        "name": data.name,
        "fingerprint": images_fingerprint(data),
        "classes": data.class_names,
        **{split: len(ids) for split, ids in data.chosen_ids().items()},
    }


def sparsity(prune: Config, weights: Path, *, order: Iterable[str]) -> dict[str, Any]:
    """Counted from the file of the last stage, not from what the masks should be.

    Args:
        prune: the config of what was asked for.
        weights: the file.
        order: names of the masked layers as the network has them.
    """
    tensors = read_weights(weights)
    masks = {name.removesuffix(".mask"): tensor for name, tensor in tensors.items() if name.endswith(".mask")}
    asked = {key: prune[key] for key in ("granularity", "allocation", "budget")}
    return {"ratio_asked": prune["ratio"], **asked, **count_sparsity({name: masks[name] for name in order})}


def threat_model(attack: Config) -> Attack:
    """What the record says of an attack, from its config."""
    made = build.instantiate(dict(attack))
    target = build.target(attack)
    name = next((name for name, known in ATTACKS.items() if known is target), attack["_target_"])
    said = {field: getattr(made, field, None) for field in Attack.__optional_keys__}
    said["start"] = _in_short(threat_model(attack["start"])) if attack.get("start") else None
    return Attack(name=name, epsilon=getattr(made, "epsilon", 0.0), **said)  # type: ignore[typeddict-item]


def _in_short(attack: Attack) -> str:
    """As `pgd, 20 steps, vanishing`."""
    words = [attack["name"], f"{attack['steps']} steps" if attack.get("steps") else ""]
    words += [attack.get("objective") or ""] if attack.get("objective") != "total" else []
    return ", ".join(word for word in words if word)
