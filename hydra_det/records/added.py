"""Settings that came after results were stored: at these values a config means what it meant without them.

Finished stages and scores are found by what their configs say. So a setting that has just been added, and was left at
its default, must not make anything anew.
"""

from collections.abc import Mapping
from typing import Any

# By the beginning of a `_target_`.
ADDED: dict[str, dict[str, Any]] = {
    "hydra_det.attacks.": {"padding": False},
    "hydra_det.init.": {"normalise": "none", "blend": "none", "blend_share": 0.5},
    "hydra_det.sweeps.target.": {"sparse_latency_ms": None},
}
# Of parts that make nothing, by the key that they stand under.
ADDED_UNDER: dict[str, dict[str, Any]] = {"latency": {"sparse": False}, "evaluation": {"precision": None}}


def without_added(config: Any, *, key: str = "") -> Any:
    """A config, or a part of one, without the later settings that are at their defaults; all else is as it was.

    Args:
        config: plain values.
        key: that it stands under.
    """
    if isinstance(config, Mapping):
        later = {**_later(config.get("_target_")), **ADDED_UNDER.get(key, {})}
        kept = {name: part for name, part in config.items() if name not in later or part != later[name]}
        return {name: without_added(part, key=name) for name, part in kept.items()}
    return [without_added(part) for part in config] if isinstance(config, list) else config


def _later(target: Any) -> dict[str, Any]:
    if not isinstance(target, str):
        return {}
    return {key: value for start, found in ADDED.items() if target.startswith(start) for key, value in found.items()}
