"""From configs to objects: the only `instantiate` of the program."""

import copy
import inspect
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from torch import Tensor, nn

from hydra_det.callbacks.watching.stop import Stop
from hydra_det.data.datamodule import DetectionData
from hydra_det.modules.darknet.weights import is_darknet, load_darknet_weights
from hydra_det.modules.masked_conv import make_masked
from hydra_det.modules.weights import load_pretrained
from hydra_det.process.progress_bar import may_draw
from hydra_det.process.script import CONFIG_DIR, SCRIPTS, Config, plain  # noqa: F401 - found here
from hydra_det.process.typed.spelling import did_you_mean
from hydra_det.records.objectives import OBJECTIVES
from hydra_det.types import InputError

log = logging.getLogger(__name__)

# Keys of a model config that speak to this file, not to the network.
FILES = ("weights", "backbone_weights")  # files of weights
MODEL_OPTIONS = (*FILES, "channels_last", "compile")


def instantiate(config: Any, **arguments: Any) -> Any:
    """`hydra.utils.instantiate` whose errors are one line about the config."""
    try:
        return hydra.utils.instantiate(config, **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from cause.__cause__  # from the error it caused, it would be its own cause
        raise InputError(_explain(config, cause or error)) from error


def _explain(config: Any, error: BaseException) -> str:
    """One line for what a constructor raised."""
    text = " ".join(str(error).split())
    text = re.sub(r"(?<=module )('[\w.]+') is installed\?", r"\1 is installed, or its folder in PYTHONPATH?", text)
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    if unknown is None or not isinstance(config, Mapping) or "_target_" not in config:
        return text
    made = target(config)
    classes = made.__mro__ if isinstance(made, type) else (made,)
    known = {name for part in classes for name in inspect.signature(part).parameters}
    key = unknown[1]
    if key == "num_classes":  # which every network is given
        return f"{made.__name__}: expected a constructor that takes num_classes, got one that does not; add it"
    return f"{made.__name__}: expected its own settings, got {key}={config[key]}{did_you_mean(key, known - {key})}"


def target(config: Config) -> Any:
    """The class or function that a config names."""
    return hydra.utils.get_object(config["_target_"])


def changed(config: Any, key: str, value: Any) -> Any:
    """A config, not resolved, with another value at a dotted key; what refers to it follows."""
    other = copy.deepcopy(config)
    OmegaConf.update(other, key, value)
    return other


def asked_ratio(ratio: Any, target: Any) -> str:
    """For the name of a folder: the ratio, or the target that leads to one."""
    asked = target if isinstance(target, Mapping) else {}
    goals = [f"{name}_{value}" for name in OBJECTIVES if (value := asked.get(name)) is not None]
    return "_".join(goals) or str(ratio)


def directions(names: Any) -> list[str]:
    """Of objectives, for Optuna; a name that does not exist is refused by the first run."""
    return [OBJECTIVES[name].direction if name in OBJECTIVES else "minimize" for name in names or ()]


def unless(skipped: Any, value: Any) -> Any:
    """A value, or none."""
    return None if skipped else value


def log_places(dry_run: Any) -> list[str]:
    """The handlers of the log: a dry run leaves no file."""
    return ["console"] if dry_run else ["console", "file"]


# What config files may call: ${asked_ratio:${prune.ratio},${target}}
for _function in (asked_ratio, directions, unless, log_places):
    OmegaConf.register_new_resolver(_function.__name__, _function, replace=True)


def to_yaml(config: Config) -> str:
    """For people to read and `--config-name` to take."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def read_yaml(path: Path) -> Config:
    """A file that `to_yaml` or `json` wrote."""
    return plain(OmegaConf.load(path))


def choices() -> dict[str, str]:
    """The config groups that were chosen, by group: `{"init": "scaled", ...}`."""
    chosen = OmegaConf.to_container(HydraConfig.get().runtime.choices)
    assert isinstance(chosen, dict)
    return {str(group): str(name) for group, name in chosen.items() if "/" not in str(group) and name is not None}


def overrides() -> list[str]:
    """What was typed behind `python train.py`."""
    return list(HydraConfig.get().overrides.task)


def data(config: Config) -> DetectionData:
    """The data module; images are read later."""
    made = instantiate(config["data"])
    if not isinstance(made, DetectionData):
        raise InputError(f"data._target_: expected a DetectionData, got {type(made).__name__}; choose one by data=")
    return made


def model_config(config: Config, module: DetectionData) -> dict[str, Any]:
    """The model's config with the classes of the data, and with what else the network takes from the data."""
    model = {**config["model"], "num_classes": module.num_classes}
    settled = settle(model, train_boxes=module.train_boxes)
    return {key: value for key, value in settled.items() if value is not None}


def settle(model: Config, *, train_boxes: Callable[[], Tensor] | None) -> Config:
    """The config of a network with what it takes from its weights and its data, where its class knows of any.

    Args:
        model: its config, with `num_classes`.
        train_boxes: width and height of the training boxes in pixels of the input [N, 2]; None: there are none.
    """
    settled: Callable[..., Config] | None = hook(model, "settled")
    return model if settled is None else settled(model, train_boxes=train_boxes)


def hook(model: Config, name: str) -> Any:
    """What the class of a network says about its config, by name; None where it says nothing, or is not there."""
    try:
        return getattr(target(model), name, None)
    except Exception:
        return None


def network(model: Mapping[str, Any]) -> nn.Module:
    """A network from the config of `model_config`, with the weights that it names."""
    made = instantiate({key: value for key, value in model.items() if key not in MODEL_OPTIONS})
    if not isinstance(made, nn.Module):
        raise InputError(f"model._target_: expected a network, got {type(made).__name__}; choose one by model=")
    if model.get("weights"):
        load(made, Path(model["weights"]))
    elif model.get("backbone_weights"):
        load_backbone: Any = getattr(made, "load_backbone", None)
        if load_backbone is None:
            raise InputError(
                f"model.backbone_weights: expected none, as {type(made).__name__} has no backbone that is known apart"
            )
        load_backbone(Path(model["backbone_weights"]))
    if model.get("channels_last"):
        made = made.to(memory_format=torch.channels_last)
    return made


def build_network(
    name: str,
    *,
    num_classes: int | None = None,
    data: DetectionData | None = None,
    weights: str | Path | None = None,
    **settings: Any,
) -> nn.Module:
    """A network by its name, with random weights or those of a file.

    Args:
        name: of a file in `conf/model`: `yolov3`, `yolov3_tiny`, `yolov3_spp`, `yolov3_nano`; `retinanet`, `fcos`,
            `ssd`, `ssdlite`, `faster_rcnn`; or `darknet` with `cfg="path.cfg"`.
        num_classes: how many it tells apart; not needed beside `data` or `cfg`.
        data: takes the number of classes and, for `anchors="auto"`, the sizes of the objects from its training images.
        weights: a `.safetensors` file of ours, or Darknet's `.weights`; those of other classes fill all but the heads.
        **settings: what the file in `conf/model` says otherwise, such as `width=0.5` or `anchors=[[10, 14], ...]`.

    Raises:
        InputError: no such network or setting, or weights of another network.
    """
    model = {**_named_model(name), **settings, "weights": None if weights is None else str(weights)}
    if settings.get("compile"):
        raise InputError("compile: expected nothing here, as train.py does it; call net.compile() yourself")
    if data is not None and num_classes not in (None, data.num_classes):
        raise InputError(f"num_classes: expected the {data.num_classes} of the data, or none, got {num_classes}")
    if data is not None:
        return network(model_config({"model": model}, data))
    if num_classes is None and not model.get("cfg"):
        raise InputError("num_classes: expected how many classes the network tells apart, or data, got neither")
    model = dict(settle({**model, "num_classes": num_classes}, train_boxes=None))
    return network({key: value for key, value in model.items() if value is not None})


def _named_model(name: str) -> dict[str, Any]:
    """What a file in `conf/model` says."""
    known = sorted(path.stem for path in Path(CONFIG_DIR, "model").glob("*.yaml"))
    if name not in known:
        raise InputError(f"name: expected a network among {', '.join(known)}, got {name!r}{did_you_mean(name, known)}")
    running = GlobalHydra.instance().hydra  # of a program of the user's, which knows other configs
    GlobalHydra.instance().hydra = None
    try:
        with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            composed = hydra.compose("train", overrides=[f"model={name}"])
    finally:
        GlobalHydra.instance().hydra = running
    return dict(plain(composed["model"]))


def load(made: nn.Module, path: Path) -> list[str]:
    """Fill a network from a file of weights; the names of the tensors that were left out, as of other classes."""
    return (load_darknet_weights if is_darknet(path) else load_pretrained)(made, path)


def masked_network(model: Mapping[str, Any], exclude: Sequence[str]) -> nn.Module:
    """The same with masked layers."""
    return make_masked(network(model), exclude=exclude)


def trainer(config: Config, *, callbacks: Sequence[pl.Callback] = (), **arguments: Any) -> pl.Trainer:
    """Lightning's trainer with the arguments that only the pipeline knows."""
    asked = {**config["trainer"], "enable_progress_bar": wants_bar(config)}
    return instantiate(asked, callbacks=[Stop(), *callbacks], **arguments)


def bare_trainer(config: Config) -> pl.Trainer:
    """A trainer that is asked for its devices, processes and precision, and trains nothing."""
    return trainer(config, logger=False, enable_checkpointing=False)


def wants_bar(config: Config) -> bool:
    """A bar is for a terminal that one job alone writes to; else there are the lines of the log."""
    return bool(config["trainer"]["enable_progress_bar"]) and may_draw(sys.stdout)
