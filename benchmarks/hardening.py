"""How long is a training step under each way of hardening?

python -m benchmarks.hardening
python -m benchmarks.hardening --model yolov3 --image-size 416 --batch 2 --rounds 5

Every way of `conf/hardening` as its callback makes it, with every batch hardened, and a clean step beside them. One
round is four steps, as many as `free` makes on a batch; a look of the watch once in 50 is not in it.
"""

import argparse
from collections.abc import Callable
from typing import Any

import hydra
import pytorch_lightning as pl

from benchmarks.interleaved import chosen, compare, parsed, timing_options
from benchmarks.subjects import network, optimizer_of, random_batch
from hydra_det.callbacks.hardening.adversarial_batch import on_schedule
from hydra_det.callbacks.hardening.registry import HARDENINGS
from hydra_det.modules.detector import Detector
from hydra_det.pipeline import build
from hydra_det.types import Batch

STEPS = 4
BASELINE = "attacked, PGD-5"


def main() -> None:
    """Time all ways in turns."""
    options = _options()
    batch = random_batch(options.batch, options.image_size, options.device)
    names = {"clean": "attacked", BASELINE: "attacked", **{name: name for name in HARDENINGS if name != "attacked"}}
    variants = {
        label: steps(network(options.model).to(options.device), batch, name, share=float(label != "clean"))
        for label, name in chosen(names, baseline=BASELINE, options=options).items()
    }
    title = f"{STEPS} training steps of {options.model}, {options.image_size} px, batch {options.batch}"
    compare(title, variants, baseline=BASELINE, options=options, images=STEPS * options.batch)


def steps(net: Any, batch: Batch, name: str, *, share: float) -> Callable[[], object]:
    """Some training steps, hardened as the config of that name says."""
    with hydra.initialize_config_dir(build.CONFIG_DIR, version_base="1.3"):
        config = build.plain(hydra.compose("train", [f"hardening={name}"]))
    attack = build.instantiate(config["attack"])
    config["hardening"].pop("watch", None)
    callback = on_schedule(build.instantiate(config["hardening"]), attack=attack, share=share)
    trainer = pl.Trainer(accelerator="auto", devices=1, logger=False, enable_checkpointing=False, inference_mode=False)
    module = Detector(net).to(batch["images"].device).train()
    optimizer = optimizer_of(net)
    callback.on_fit_start(trainer, module)

    def run() -> None:
        for number in range(STEPS):
            seen = Batch(images=batch["images"], targets=batch["targets"])
            callback.on_train_batch_start(trainer, module, seen, number)
            optimizer.zero_grad()
            raw = net(seen["images"])
            loss = net.losses(raw, seen["targets"]).total.mean()
            for penalty in module.penalties.values():
                added = penalty(raw)
                loss = loss if added is None else loss + added
            loss.backward()
            callback.on_after_backward(trainer, module)
            optimizer.step()

    return run


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=7, warmup=1, batch=8)
    parser.set_defaults(model="yolov3_nano", image_size=160)
    return parsed(parser)


if __name__ == "__main__":
    main()
