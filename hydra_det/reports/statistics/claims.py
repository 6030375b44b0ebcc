"""What the paper claims and what we claim beside it, each as a comparison that records can answer.

A claim says which configurations are ahead of which, by what their records say (`TRAITS`). Traits that neither
side names must be the same on both; `answers` makes the tests.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import pandas as pd

from hydra_det.records.traits import TRAITS, USUAL, name_of, usual_among
from hydra_det.reports.paper import CONFIGURATIONS
from hydra_det.reports.statistics.cells import metric_values

PAPER, IMPROVEMENTS = "paper", "improvements"  # families, each with its own correction for many tests
EFFECT = 0.01  # AP, the smallest difference that matters
SPEED = math.log(1.05)  # 5 %
PRUNED = (0.01, 0.999)  # ratios at which something is pruned
ALL = (0.0, 0.999)
BEST_THERE = "the configuration best in the paper"
BEST = "the best here of the paper's four"  # instead of traits: of these configurations that of the highest mean


class Claim(NamedTuple):
    """One side is ahead of the other, in one metric."""

    words: str  # of the paper as it puts them, of ours as we do
    metric: str  # of `METRICS`
    ahead: Mapping[str, Any]  # traits of the side that is said to be ahead
    behind: Mapping[str, Any] | str  # and of the other one, or `BEST`
    both: Mapping[str, Collection[Any]] = {}  # values that the traits of the side ahead may have
    ratios: tuple[float, float] = PRUNED  # from, up to
    smallest: float = EFFECT  # effect that matters; of a relative one its logarithm
    beyond: float = 0.0  # that the effect is said to be above
    relative: bool = False  # the effect is a quotient, of geometric means, instead of a difference
    lower: bool = False  # the smaller value is ahead
    each: bool = False  # said of every pair of configurations, which are tested one by one, and not of their mean
    family: str = PAPER


class Pair(NamedTuple):
    """Two configurations that a claim compares."""

    ahead: str
    behind: str


_USUAL = {trait: (usual,) for trait, usual in USUAL.items()}
_COLOUR = _USUAL | {"init": ("deeplift_paper", "scaled"), "granularity": ("weight", "kernel")}
_FASTER: dict[str, Any] = {"smallest": SPEED, "relative": True}
_STRUCTURED: dict[str, Any] = {"ahead": {"granularity": "kernel"}, "behind": {"granularity": "weight"}, "both": _COLOUR}
_TIMED = {
    "speed_up_masked": "networks with masks",
    "speed_up": "compact networks",
    "speed_up_fastest": "compact networks, each in its fastest engine",
}
_GREY: dict[str, Any] = {
    "ahead": {"greyscale": False},
    "behind": {"greyscale": True},
    "both": _COLOUR | {"init": ("deeplift_paper",), "granularity": ("weight",)},
    "ratios": ALL,
}
_PAPERS_BEST = USUAL | {"init": "deeplift_paper", "granularity": "weight"}
# What ours are compared with; None: the same configuration without it.
_RIVALS: dict[str, Mapping[str, Any] | str | None] = {
    "the same without it": None,
    BEST_THERE: _PAPERS_BEST,
    BEST: BEST,
}
_OURS: dict[str, Any] = {
    "both": {trait: _USUAL[trait] for trait in ("greyscale", "pretraining", "hardening")},
    "family": IMPROVEMENTS,
}
_LEARNED = _OURS | {
    "ahead": {"allocation": "learned"},
    "both": _OURS["both"] | {"granularity": ("weight", "kernel")},
}
_HYBRID = _OURS | {"ahead": {"granularity": "hybrid"}}
_PRETRAINED: dict[str, Any] = {
    "ahead": {"pretraining": "adversarial"},
    "behind": {"pretraining": "clean"},
    "family": IMPROVEMENTS,
}
_FAST = _OURS | {
    "ahead": {"hardening": "fast"},
    "both": {trait: _USUAL[trait] for trait in ("greyscale", "pretraining", "allocation")}
    | {"granularity": ("weight",)},
}

# What sections IV A to D of the paper say, as far as possible in its words.
CLAIMS = (
    Claim(
        "Networks pretrained on adversarial images have an increased resilience against attacks: before pruning",
        "map_attacked_dense",
        {"pretraining": "adversarial"},
        {"pretraining": "clean"},
        ratios=ALL,
    ),
    Claim(
        "DeepLIFT consistently outperforms scaled initialization within the 50%-85% range for both pruning methods",
        "map_attacked",
        {"init": "deeplift_paper"},
        {"init": "scaled"},
        _COLOUR,
        ratios=(0.5, 0.85),
        each=True,
    ),
    Claim(
        "Unstructured pruning consistently achieves higher mAP than structured pruning for both initialization methods",
        "map_attacked",
        {"granularity": "weight"},
        {"granularity": "kernel"},
        _COLOUR,
        ratios=(0.25, 0.9),
        each=True,
    ),
    *(
        Claim(
            f"Structured pruning provides a significant boost in inference speed over unstructured: {what}",
            metric,
            **_STRUCTURED | _FASTER,
        )
        for metric, what in _TIMED.items()
    ),
    Claim(
        "Models trained with greyscale images exhibit significantly lower mAP: under attack", "map_attacked", **_GREY
    ),
    Claim("Models trained with greyscale images exhibit significantly lower mAP: clean", "map_clean", **_GREY),
    # The paper compares dense networks; scores and fine-tuning under attack come after it in all of ours.
    Claim("Adversarial pretraining still helps after pruning and fine-tuning", "map_attacked", **_PRETRAINED),
    Claim(
        "Scores by DeepLIFT of what an attack does are ahead of scaled ones",
        "map_attacked",
        {"init": "deeplift"},
        {"init": "scaled"},
        family=IMPROVEMENTS,
    ),
    *(
        claim
        for rival, behind in _RIVALS.items()
        for claim in (
            Claim(
                f"Learned allocation is ahead of {rival}",
                "map_attacked",
                behind=behind or {"allocation": "uniform"},
                **_LEARNED,
            ),
            Claim(
                f"Hybrid masks are ahead of {rival}",
                "map_attacked",
                behind=behind or {"granularity": "weight"},
                **_HYBRID,
            ),
            Claim(
                f"Hybrid masks are faster than {rival}: compact networks",
                "speed_up",
                behind=behind or {"granularity": "weight"},
                **_HYBRID | _FASTER,
            ),
            # Its gain is the time, so under attack it has to be no worse, by the smallest effect that matters.
            Claim(
                f"One-step adversarial training loses less than {EFFECT:g} AP to {rival}",
                "map_attacked",
                behind=behind or {"hardening": "attacked"},
                **_FAST | {"smallest": 0.0, "beyond": -EFFECT},
            ),
            Claim(
                f"One-step adversarial training takes less time than {rival}",
                "training_seconds",
                behind=behind or {"hardening": "attacked"},
                **_FAST | _FASTER | {"lower": True},
            ),
        )
    ),
)


def pairs_of(claim: Claim, frame: pd.DataFrame) -> tuple[list[Pair], str]:
    """The pairs of configurations that a claim compares, and what is to be known of the choice.

    Args:
        claim: one of `CLAIMS`.
        frame: `records_frame`.
    """
    kinds, note = _kinds(frame)
    claim = _as_hardened(claim, frame)
    behind, said = _behind(claim, frame)
    if behind is None:
        return [], said
    if all(behind.get(trait) == value for trait, value in claim.ahead.items()):
        return [], f"no runs without {_words(claim.ahead)}"
    named = {**claim.ahead, **behind}
    pairs = []
    for one, ahead in kinds.items():
        if not _is(ahead, claim.ahead) or not _has(ahead, claim.both):
            continue
        for two, other in kinds.items():
            if _is(other, behind) and all(ahead[trait] == other[trait] for trait in TRAITS if trait not in named):
                pairs.append(Pair(one, two))
    if not pairs:
        note = join_notes(note, _lacking(claim, behind, kinds.values()))
    return pairs, join_notes(said, note)


def _as_hardened(claim: Claim, frame: pd.DataFrame) -> Claim:
    """The claim about runs most of which were hardened in another way than is usual: what it compares stays."""
    trait = "hardening"
    usual = usual_among(frame[trait])[trait]
    if usual == USUAL[trait] or trait in claim.ahead:
        return claim
    both = {**claim.both, trait: (usual,)} if trait in claim.both else claim.both
    behind = claim.behind
    if not isinstance(behind, str) and trait in behind:
        behind = {**behind, trait: usual}
    return claim._replace(both=both, behind=behind)


def best_of_the_paper(frame: pd.DataFrame) -> str | None:
    """Of the paper's four in colour, that with the highest mean AP under attack over ratios and seeds that all have."""
    names = {name for name, cell in CONFIGURATIONS.items() if not cell.greyscale}
    usual = usual_among(frame["hardening"])
    ours = [configuration for configuration, found in _kinds(frame)[0].items() if name_of(found, usual) in names]
    here = frame.assign(value=metric_values(frame, "map_attacked"))
    here = here[here["configuration"].isin(ours) & here["ratio"].between(*PRUNED)]
    values = here.groupby(["configuration", "ratio", "seed"])["value"].mean().unstack(["ratio", "seed"]).dropna(axis=1)
    return None if values.empty or not values.shape[1] else str(values.mean(axis=1).idxmax())


def join_notes(*notes: str) -> str:
    """One note of several; empty ones say nothing."""
    return "; ".join(filter(None, notes))


def _behind(claim: Claim, frame: pd.DataFrame) -> tuple[Mapping[str, Any] | None, str]:
    """The traits of the side that is said to be behind, and a note; None where there is no such side."""
    if not isinstance(claim.behind, str):
        return claim.behind, ""
    best = best_of_the_paper(frame)
    if best is None:
        return None, "no ratio at which the paper's configurations share a seed"
    traits = _traits(frame[frame["configuration"] == best])
    return traits, f"{best} has the highest mean of the paper's configurations, chosen by these runs themselves"


def _lacking(claim: Claim, behind: Mapping[str, Any], kinds: Collection[Mapping[str, Any]]) -> str:
    """Why there is no pair: no run of a side, none of it that the claim is about, or none of both that are alike."""
    sides = {_words(side): [found for found in kinds if _is(found, side)] for side in (claim.ahead, behind)}
    if missing := [words for words, there in sides.items() if not there]:
        return f"no runs with {' and none with '.join(missing)}"
    asked = {trait: values for trait, values in claim.both.items() if trait not in claim.ahead}
    if not any(_has(found, asked) for found in sides[_words(claim.ahead)]):
        values = ", ".join(f"{trait} {' or '.join(map(str, values))}" for trait, values in asked.items())
        return f"no runs with {_words(claim.ahead)} among those with {values}"
    return f"no two runs that are alike but for {' and '.join(sides)}"


def _words(traits: Mapping[str, Any]) -> str:
    return ", ".join(f"{trait} {value}" for trait, value in traits.items())


def _has(traits: Mapping[str, Any], values: Mapping[str, Collection[Any]]) -> bool:
    return all(traits[trait] in allowed for trait, allowed in values.items())


def _kinds(frame: pd.DataFrame) -> tuple[dict[str, dict[str, Any]], str]:
    """The traits of every configuration; where several have the same, of the one whose name tells no more than these.

    Returns:
        Traits by configuration, and which ones were left out as nothing tells what they differ in.
    """
    usual = usual_among(frame["hardening"])
    by_traits: dict[str, dict[str, dict[str, Any]]] = {}
    for name, runs in frame.groupby("configuration"):
        found = _traits(runs)
        by_traits.setdefault(name_of(found, usual), {})[str(name)] = found
    kinds: dict[str, dict[str, Any]] = {}
    left_out: list[str] = []
    for plain, alike in by_traits.items():
        if len(alike) == 1:
            kinds |= alike
        elif plain in alike:
            kinds[plain] = alike[plain]
        else:
            left_out += alike
    return kinds, f"left out, as they differ in something else: {' · '.join(left_out)}" if left_out else ""


def _traits(runs: pd.DataFrame) -> dict[str, Any]:
    """Of one configuration; what a record does not say counts as usual."""
    found: dict[str, Any] = {trait: runs.iloc[0][trait] for trait in TRAITS}
    found |= {trait: usual for trait, usual in USUAL.items() if pd.isna(found[trait])}
    return found | {"greyscale": bool(found["greyscale"])}


def _is(traits: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return all(traits[trait] == value for trait, value in asked.items())
