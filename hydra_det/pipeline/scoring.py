"""What finished networks are worth: AP clean and attacked on the test images, and where their time goes.

AP is kept in the store like a stage and not computed twice. Time is measured anew in every run, all networks in turn:
times from different minutes or machines do not compare.
"""

import contextlib
import copy
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from hydra_det.callbacks.passes import metrics_of, run_passes
from hydra_det.callbacks.watching.pictures import SamplePictures
from hydra_det.callbacks.watching.progress import StageBar
from hydra_det.callbacks.watching.whereabouts import Whereabouts
from hydra_det.compaction.counts import count_flops, count_parameters, weight_bytes
from hydra_det.data.datamodule import DetectionData
from hydra_det.engines.engine import Forward
from hydra_det.engines.equal import check_equal
from hydra_det.engines.registry import in_engine
from hydra_det.evaluation.detection_files import write_detections_csv, write_results_json
from hydra_det.evaluation.latency import measure_latency, network_parts
from hydra_det.modules.masked_conv import make_dense
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.pipeline.claiming import claim
from hydra_det.pipeline.precision import of_scores
from hydra_det.process import processes
from hydra_det.process.script import is_helper
from hydra_det.records.record import Latency, NetworkMetrics, NetworkSize
from hydra_det.store.store import Store, fingerprint
from hydra_det.types import InputError

log = logging.getLogger(__name__)

NAME, SCORES, SAMPLES = "evaluate", "scores.json", "samples"


def score(
    net: nn.Module,
    config: Config,
    *,
    data: DetectionData,
    store: Store,
    origin: Mapping[str, Any],
    attacked: nn.Module | None = None,
) -> tuple[NetworkMetrics, Path]:
    """AP of a network on the test images, computed or found in the store.

    Args:
        net: dense or masked; is made dense in place.
        config: the whole config; `evaluation`, `data` and `trainer` are read.
        data: prepared.
        store: where the score is kept.
        origin: what says which network it is: its stage, and how it differs from what that left; plain values.
        attacked: the network that adversarial images are made on; None: `net`.

    Returns:
        AP clean and attacked, and the folder with it and with the detections.
    """
    config = of_scores(config)
    settings = config["evaluation"]
    key = fingerprint({
        "evaluate": dict(origin),
        "attack": settings["attack"],
        "attack_seed": settings["attack_seed"],
        "bootstrap": settings["bootstrap"],
        "samples": settings["samples"],
        "images": data.fingerprints["test"],
        "nms": config["model"].get("nms"),
        "input": {"size": data.image_size, "greyscale": data.greyscale, "batch": data.evaluation_batch_size},
        "precision": config["trainer"]["precision"],
    })  # fmt: skip
    folder = store.folder(NAME, key)
    processes.join(lambda: build.bare_trainer(config))
    with contextlib.ExitStack() as claimed:
        if claim(store, NAME, key, claimed):
            _evaluate(net, config, data, store, key, attacked)
        else:
            log.info("%s: found finished (%s)", NAME, folder)
    return json.loads((folder / SCORES).read_text()), folder


def _evaluate(
    net: nn.Module, config: Config, data: DetectionData, store: Store, key: str, attacked: nn.Module | None
) -> None:
    settings, folder = config["evaluation"], store.partial(NAME, key)
    watchers = [Whereabouts(name=NAME), SamplePictures(folder / SAMPLES, count=settings["samples"])]
    bar = StageBar() if build.wants_bar(config) else None
    if bar:
        watchers.append(bar)

    def make_trainer(callbacks: list[pl.Callback]) -> pl.Trainer:
        return build.trainer(config, callbacks=callbacks, logger=False, enable_checkpointing=False)

    with processes.together():
        trainer, results = run_passes(
            net, data, build.instantiate(settings["attack"]), make_trainer=make_trainer, seed=settings["attack_seed"],
            source=attacked, watchers=watchers, show=bar.say if bar else None,
        )  # fmt: skip
    if trainer.is_global_zero:
        names = dict(zip(data.category_ids, data.class_names, strict=True))
        for name, found in results.items():
            write_detections_csv(folder / f"detections_{name}.csv", found, category_names=names)
            write_results_json(folder / f"detections_{name}.json", found)
        both = metrics_of(data, results, bootstrap=settings["bootstrap"])
        (folder / SCORES).write_text(json.dumps(both, allow_nan=False, indent=2))
        store.publish(NAME, key, {"name": NAME, "fingerprint": key})
    trainer.strategy.barrier()


def latency(networks: Mapping[str, nn.Module], config: Config, data: DetectionData) -> dict[str, Latency]:
    """Time of forward, decode and suppression of single test images in float32, of networks that are made dense."""
    if is_helper():
        return {}  # the first rank measures, undisturbed by the others
    settings = config["evaluation"]["latency"]
    device = torch.device("cpu")
    if settings["device"] == "auto":
        device = build.bare_trainer(config).strategy.root_device
    samples = data.dataset("test")
    images = [samples[(0, index)][0][None].to(device) for index in range(min(settings["images"], len(samples)))]
    size = (data.image_size, data.image_size)
    ready = {name: make_dense(net).to(device).eval() for name, net in networks.items()}
    timing = {name: settings[name] for name in ("confidence", "warmup", "repeats")}
    parts = {name: network_parts(net, net, size) for name, net in ready.items()}
    with contextlib.ExitStack() as opened:
        sparse = _in_sparse(ready, images[0].cpu(), opened) if settings["sparse"] else None
        if sparse and device.type == "cpu":  # in turns with the others
            return measure_latency({**parts, "sparse": network_parts(ready["compact"], sparse, size)}, images, **timing)
        found = measure_latency(parts, images, **timing)
        if sparse:
            alone = {"sparse": network_parts(ready["compact"].cpu(), sparse, size)}
            found |= measure_latency(alone, [image.cpu() for image in images], **timing)
    return found


def _in_sparse(ready: Mapping[str, nn.Module], image: Tensor, opened: contextlib.ExitStack) -> Forward | None:
    """The forward of the compact network in the engine `sparse`; None, with a warning, where it cannot be trusted."""
    if "compact" not in ready:
        log.warning("evaluation.latency.sparse: there is no compact network that the engine sparse could run")
        return None
    net = copy.deepcopy(ready["compact"]).cpu()
    folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
    try:
        forward, _ = in_engine("sparse", net, folder, image, threads=torch.get_num_threads())
        with torch.no_grad():
            check_equal("sparse", net(image), forward(image))
    except InputError as error:
        log.warning("evaluation.latency.sparse: not timed: %s", error)
        return None
    return forward


def sizes(networks: Mapping[str, nn.Module], image_size: int) -> dict[str, NetworkSize]:
    """What networks take; the zeros of a mask count until they are removed."""
    return {
        name: NetworkSize(
            parameters=count_parameters(net),
            flops=count_flops(net, image_size),
            file_bytes=weight_bytes(net),
            peak_bytes=None,
        )
        for name, net in networks.items()
    }
