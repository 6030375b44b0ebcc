"""DeepLIFT initialisation of scores: what a weight contributes to what the network says of the objects."""

import dataclasses
import functools
import logging

from torch import nn

from hydra_det.init.base import (
    AGGREGATIONS,
    Batches,
    InitialScores,
    Sample,
    Tally,
    choose,
    full_precision,
    total_over_processes,
)
from hydra_det.init.contributions import contributions, likely_causes, relative
from hydra_det.init.references import REFERENCES
from hydra_det.init.rules import RULES
from hydra_det.init.targets import TARGETS, topk
from hydra_det.types import InputError

log = logging.getLogger(__name__)


class DeepLift:
    """score = size of the DeepLIFT contribution of a weight, scaled to sqrt(6 / fan_in); see `contributions`.

    Args:
        target: what is explained: the logits of the `assigned` anchors, the `topk` largest objectness logits, or the
            detection `loss`.
        k: number of logits an image for `topk`.
        reference: what images are compared with: `zeros`, `mean`, `padding` or `blur`.
        rule: of activations, `rescale` or `reveal_cancel`, which is several times as slow.
        aggregation: of micro-batches: `absolute`, `squared` or `signed`.
        images: training images looked at.
        micro_batch: images a pass. What their contributions have of both signs cancels within a micro-batch.
        attacked: look at attacked images instead of clean ones.
        max_gap: largest share of the target that the contributions may miss; see `Contributions.gap`.
    """

    def __init__(
        self,
        *,
        target: str = "assigned",
        k: int = 100,
        reference: str = "padding",
        rule: str = "rescale",
        aggregation: str = "absolute",
        images: int = 64,
        micro_batch: int = 4,
        attacked: bool = False,
        max_gap: float = 0.001,
    ) -> None:
        if k < 1:
            raise InputError(f"init.k: expected at least 1, got {k}")
        if not max_gap > 0:
            raise InputError(f"init.max_gap: expected a share above 0, got {max_gap}")
        self.coefficients = choose("target", target, TARGETS | {"topk": functools.partial(topk, k=k)})
        self.make_reference = choose("reference", reference, REFERENCES)
        self.make_rule = choose("rule", rule, RULES)
        self.aggregate = choose("aggregation", aggregation, AGGREGATIONS)
        self.needs_objects = target == "assigned"
        self.sample = Sample(images=images, micro_batch=micro_batch, attacked=attacked)
        self.max_gap = max_gap
        self.words = {"target": target, "reference": reference, "rule": rule, "aggregation": aggregation}

    def __call__(self, network: nn.Module, batches: Batches) -> InitialScores:
        """Scores of every masked layer, by name, and how complete they are.

        Raises:
            InputError: no chosen image has an object (for `assigned`), the gap is too large, a score is not finite.
        """
        net = full_precision(network)
        dtype = next(net.parameters()).dtype
        reference = self.make_reference(batches(dataclasses.replace(self.sample, attacked=False)))
        tally = Tally(self.aggregate)
        missed = whole = 0.0
        for batch in batches(self.sample):
            images, targets = batch["images"].to(dtype), batch["targets"]
            if self.needs_objects and not any(len(target["labels"]) for target in targets):
                continue
            found = contributions(
                net,
                images,
                reference(images),
                coefficients=functools.partial(self.coefficients, net, targets),
                rule=self.make_rule(),
            )
            tally.add(found.weights, images=len(targets))
            missed += found.missed.item()
            whole += found.whole.item()
        scores = tally.scores(network)
        gap = relative(*total_over_processes(next(network.parameters()).new_tensor([missed, whole])))
        log.info("deeplift: the contributions miss %.1e of the target", gap)
        if not gap <= self.max_gap:
            raise InputError(
                f"init.max_gap: expected contributions that miss at most {self.max_gap} of the target, got {gap:.3g}: "
                f"{'; '.join(likely_causes(net))}"
            )
        facts = {**self.words, "images": tally.seen, "micro_batch": self.sample.micro_batch}
        return InitialScores(scores, {**facts, "attacked": self.sample.attacked, "completeness_gap": gap})
