"""Every key of a data config is an argument of what it builds, and every argument has a key."""

import inspect
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from hydra_det.data import sources
from hydra_det.data.datamodule import DetectionData

CONFIGS = Path(__file__).parents[2] / "conf" / "data"


@pytest.mark.parametrize("name", sorted(file.stem for file in CONFIGS.glob("*.yaml")))
def test_keys_are_arguments(name: str) -> None:
    config = OmegaConf.load(CONFIGS / f"{name}.yaml")
    if "defaults" in config:
        config = OmegaConf.merge(OmegaConf.load(CONFIGS / f"{config.defaults[0]}.yaml"), config)
    assert isinstance(config, DictConfig)
    keys = {str(key) for key in config} - {"defaults"}
    built = getattr(sources, config["_target_"].rsplit(".", 1)[1])
    lineage = [kind for kind in built.__mro__ if issubclass(kind, DetectionData)]
    arguments = {name for kind in lineage for name in inspect.signature(kind).parameters}
    assert keys - {"_target_"} == arguments - {"options"}
    assert config["name"] == name
    if name != "shapes":
        assert OmegaConf.is_missing(config, "root"), "nobody's path is a default"
