"""What does looking out for numbers that are not finite take, beside the training step that it looks at?

python -m benchmarks.numbers_watch
python -m benchmarks.numbers_watch --device cuda --batch 16 --rounds 20

The watch is timed alone, on the gradients that the step leaves: what it takes is its time over that of the step.
"""

import argparse
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.interleaved import compare, parsed, timing_options
from benchmarks.subjects import network, random_batch
from benchmarks.training_step import our_step
from hydra_det.callbacks.watching.numbers_watch import NumbersWatch
from hydra_det.modules.detector import Detector

STEP, WATCH = "step", "watch"


def main() -> None:
    """Time both in turns."""
    options = _options()
    batch = random_batch(options.batch, options.image_size, options.device)
    net = network(options.model).to(options.device)
    step = our_step(net, batch)
    step()
    watch, module, loss = NumbersWatch(name="pretrain"), Detector(net), torch.ones((), device=options.device)
    module.terms = dict.fromkeys(("box", "objectness", "classification", "total"), loss)
    optimizer = torch.optim.SGD(net.parameters())
    trainer: Any = SimpleNamespace(
        global_step=1, precision_plugin=None, strategy=SimpleNamespace(reduce=lambda flags, reduce_op: flags)
    )

    def look() -> None:
        watch.on_train_batch_start(trainer, module, batch, 0)
        watch.on_before_backward(trainer, module, loss)
        watch.on_before_optimizer_step(trainer, module, optimizer)

    watch.on_fit_start(trainer, module)
    variants = {STEP: step, WATCH: look}
    title = f"A training step of {options.model}, {options.image_size} px, batch {options.batch}"
    compare(title, variants, baseline=STEP, options=options)


def _options() -> argparse.Namespace:
    parser = timing_options(__doc__, rounds=5, warmup=1, batch=2)
    return parsed(parser)


if __name__ == "__main__":
    main()
