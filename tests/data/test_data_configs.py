"""Every key of a data config is an argument of what it builds, and every argument has a key."""

import inspect
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from hydra_det.data import datamodule
from hydra_det.data.datamodule import DetectionData

CONFIGS = Path(__file__).parents[2] / "conf" / "data"


@pytest.mark.parametrize("name", ["shapes", "coco", "deeppcb", "coco_real"])
def test_keys_are_arguments(name: str) -> None:
    files = [name] if name in ("shapes", "coco") else ["coco", name]
    config = OmegaConf.merge(*(OmegaConf.load(CONFIGS / f"{file}.yaml") for file in files))
    assert isinstance(config, DictConfig)
    keys = {str(key) for key in config} - {"defaults"}
    built = getattr(datamodule, config["_target_"].rsplit(".", 1)[1])
    arguments = {*inspect.signature(built).parameters, *inspect.signature(DetectionData).parameters}
    assert keys - {"_target_"} == arguments - {"options"}
    assert config["name"] == name
    if name != "shapes":
        assert OmegaConf.is_missing(config, "root"), "nobody's path is a default"
