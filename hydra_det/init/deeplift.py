"""DeepLIFT initialisation of scores: what a weight contributes to what the network says of the objects."""

import copy
import dataclasses
import functools
import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from hydra_det.init.base import (
    Batches,
    FromImages,
    InitialScores,
    Tally,
    check_count,
    choose,
    full_precision,
    total_over_processes,
)
from hydra_det.init.contributions import contributions, likely_causes, relative
from hydra_det.init.references import REFERENCES
from hydra_det.init.rules import RULES
from hydra_det.init.targets import TARGETS, topk
from hydra_det.types import Batch, InputError

log = logging.getLogger(__name__)


class DeepLift(FromImages):
    """score = size of the DeepLIFT contribution of a weight; see `contributions`.

    Args:
        target: what is explained: the logits of the `assigned` anchors, the `topk` largest objectness logits, or the
            detection `loss`.
        k: number of logits an image for `topk`.
        reference: what images are compared with: `zeros`, `mean`, `padding`, `blur`, or, of attacked images, `clean`:
            each with itself before the attack, so that what is explained is what the attack changes.
        rule: of activations, `rescale` or `reveal_cancel`, which is several times as slow.
        max_gap: largest share of the target that the contributions may miss; see `Contributions.gap`. Of the `loss`
            the target is what its coefficients make of the raw maps: how well they stand for it is not in the gap.
        **options: of `FromImages`.
    """

    def __init__(
        self,
        *,
        target: str = "assigned",
        k: int = 100,
        reference: str = "padding",
        rule: str = "rescale",
        max_gap: float = 0.001,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_count(k=k)
        if not isinstance(max_gap, int | float) or not max_gap > 0:
            raise InputError(f"init.max_gap: expected a share above 0, got {max_gap!r}")
        self.coefficients = choose("target", target, TARGETS | {"topk": functools.partial(topk, k=k)})
        self.make_reference = choose("reference", reference, REFERENCES)
        if reference == "clean" and not self.sample.attacked:
            raise InputError("init.attacked: expected true for init.reference=clean, got false: nothing would differ")
        self.make_rule = choose("rule", rule, RULES)
        self.needs_objects = target == "assigned"
        self.max_gap = max_gap
        self.facts |= {"target": target, "reference": reference, "rule": rule}
        if target == "topk":
            self.facts["k"] = k

    def __call__(self, network: nn.Module, batches: Batches) -> InitialScores:
        """Scores of every masked layer, by name, and how complete they are.

        Raises:
            InputError: no chosen image has an object (for `assigned`), the gap is too large, a score is not finite.
        """
        net = full_precision(network)
        tally, gap = self._explain(net, batches)
        if gap > self.max_gap and next(net.parameters()).dtype != torch.float64:
            # A network that hardly answers, as before training, says little but rounding: more digits tell.
            log.info("deeplift: completeness gap %.1e; once more in float64", gap)
            net = copy.deepcopy(net).double()
            tally, gap = self._explain(net, batches)
        log.info("deeplift: completeness gap %.1e", gap)
        if not gap <= self.max_gap:
            raise InputError(
                f"init.max_gap: expected contributions that miss at most {self.max_gap} of the target, got {gap:.3g} "
                f"(rounding alone misses 1e-5 in float32, 1e-13 in float64); {'; '.join(likely_causes(net))}"
            )
        dtype = str(next(net.parameters()).dtype).removeprefix("torch.")
        return self.finish(tally, network, completeness_gap=gap, dtype=dtype)

    def _explain(self, net: nn.Module, batches: Batches) -> tuple[Tally, float]:
        """The contributions of all batches, and what share of the target they miss, in all processes."""
        first = next(net.parameters())
        clean = dataclasses.replace(self.sample, attacked=False)
        reference = self.make_reference(batches(clean), first.device)
        tally = Tally(self.aggregate)
        missed = whole = 0.0
        pairs = (
            zip(batches(clean), batches(self.sample), strict=True) if self.sample.attacked else _twice(batches(clean))
        )
        for before, batch in pairs:
            images, targets = batch["images"].to(first.dtype), batch["targets"]
            if self.needs_objects and not any(len(target["labels"]) for target in targets):
                continue
            found = contributions(
                net,
                images,
                reference(images, before["images"].to(first.dtype)),
                coefficients=functools.partial(self.coefficients, net, targets),
                rule=self.make_rule(),
            )
            tally.add(found.weights, images=len(targets))
            missed += found.missed.item()
            whole += found.whole.item()
        return tally, relative(*total_over_processes(first.new_tensor([missed, whole])))


class AdversarialDeepLift(DeepLift):
    """score = size of what a weight contributes to what an attack does to the loss, its rank averaged with |weight|'s.

    Contributions count as shares of their channels. Every attacked image is compared with itself before the attack. To
    compare them the other way round would give the same sizes, but for `target=topk`, which chooses other logits.
    Arguments as in `DeepLift`.
    """

    def __init__(
        self,
        *,
        target: str = "loss",
        reference: str = "clean",
        normalise: str = "channels",
        blend: str = "rank",
        sizes: str = "weights",
        attacked: bool = True,
        **options: Any,
    ) -> None:
        how: dict[str, Any] = {"normalise": normalise, "blend": blend, "sizes": sizes, "attacked": attacked}
        super().__init__(target=target, reference=reference, **how, **options)


def _twice(batches: Iterable[Batch]) -> Iterable[tuple[Batch, Batch]]:
    """Clean batches are their own selves before an attack."""
    return ((batch, batch) for batch in batches)
