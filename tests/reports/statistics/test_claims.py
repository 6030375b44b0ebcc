"""Which configurations a claim compares: pairs named by hand."""

import dataclasses

import pytest

from hydra_det.records.record import Record
from hydra_det.records.table import records_frame
from hydra_det.records.traits import TRAITS
from hydra_det.reports.paper import CONFIGURATIONS
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.claims import (
    BEST,
    BEST_THERE,
    CLAIMS,
    IMPROVEMENTS,
    PAPER,
    Claim,
    Pair,
    best_of_the_paper,
    pairs_of,
)
from tests.reports.example import GRID, grid, grid_record, network

WEIGHT, KERNEL, SCALED = "deeplift_paper, weight", "deeplift_paper, kernel", "scaled, weight"
ADVERSARIAL = {"epochs": 6, "clean_epochs": 4, "attacked_share": 0.5}
CLEAN = ADVERSARIAL | {"attacked_share": 0.0}


def variant(
    base: str,
    seed: int = 0,
    ratio: float = 0.75,
    *,
    ap: float | None = None,
    allocation: str = "uniform",
    granularity: str | None = None,
    hardening: str = "attacked",
    pretrain: dict[str, float] | None = None,
) -> Record:
    """A run of `GRID` with what the grid does not vary; `ap` is its AP under attack."""
    record = grid_record(base, ratio, seed)
    sparsity = record.sparsity | {"allocation": allocation}
    if granularity:
        sparsity |= {"granularity": granularity}
    config = record.config | {"choices": record.config["choices"] | {"hardening": hardening}}
    config["stage"] = config["stage"] | {"pretrain": pretrain or ADVERSARIAL}
    metrics = record.metrics if ap is None else {"dense": network(0.5, 0.4), "pruned": network(0.4, ap)}
    return dataclasses.replace(record, config=config, sparsity=sparsity, metrics=metrics)


def frame_of(*records):
    return records_frame({str(place): record for place, record in enumerate(records)})


def the(words, metric="map_attacked"):
    """The one claim that begins so."""
    (claim,) = (claim for claim in CLAIMS if claim.words.startswith(words) and claim.metric == metric)
    return claim


def pairs(claim, frame):
    return {tuple(pair) for pair in pairs_of(claim, frame)[0]}


def test_every_claim_can_be_asked():
    assert {claim.family for claim in CLAIMS} == {PAPER, IMPROVEMENTS}
    assert len({(claim.words, claim.metric) for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.metric in METRICS
        sides = [claim.ahead, claim.both, *([] if isinstance(claim.behind, str) else [claim.behind])]
        assert set().union(*sides) <= set(TRAITS)


def test_the_papers_claims_compare_what_its_tables_compare():
    frame = records_frame(grid(ratios=[0.5], seeds=[0]))
    assert set(frame["configuration"]) == {cell.configuration for cell in CONFIGURATIONS.values()}
    assert pairs(the("DeepLIFT"), frame) == {(WEIGHT, SCALED), (KERNEL, "scaled, kernel")}
    assert pairs(the("Unstructured"), frame) == {(WEIGHT, KERNEL), (SCALED, "scaled, kernel")}
    for metric in ("speed_up_masked", "speed_up", "speed_up_fastest"):
        assert pairs(the("Structured", metric), frame) == {(KERNEL, WEIGHT), ("scaled, kernel", SCALED)}
    for metric in ("map_attacked", "map_clean"):
        assert pairs(the("Models", metric), frame) == {(WEIGHT, f"{WEIGHT}, greyscale")}


def test_pretraining_compares_what_is_alike_in_all_else():
    frame = frame_of(
        variant(WEIGHT),
        variant(WEIGHT, pretrain=CLEAN),
        variant(KERNEL, pretrain=CLEAN),
        variant(SCALED),
        variant(SCALED, pretrain=CLEAN, hardening="fast"),
    )
    assert pairs(the("Adversarial pretraining"), frame) == {(WEIGHT, f"{WEIGHT}, clean pretraining")}


def test_other_runs_do_not_speak_for_the_paper():
    """Scores of runs that learned clean, one-step hardening beside the usual and learned shares are other questions."""
    for changes in ({"pretrain": CLEAN}, {"hardening": "fast"}, {"allocation": "learned"}):
        others = [variant("scaled, kernel", seed) for seed in range(3)]
        frame = frame_of(variant(WEIGHT, **changes), variant(SCALED, **changes), *others)
        found, note = pairs_of(the("DeepLIFT"), frame)
        assert found == []
        assert note.startswith(
            "no runs with init deeplift_paper among those with greyscale False, allocation uniform, "
        )


def test_where_all_are_hardened_in_one_way_they_speak_for_the_paper():
    frame = frame_of(
        variant(WEIGHT, ap=0.2, hardening="fast"),
        variant(SCALED, ap=0.3, hardening="fast"),
        variant(SCALED, ap=0.4, hardening="fast", allocation="learned"),
    )
    assert pairs(the("DeepLIFT"), frame) == {(WEIGHT, SCALED)}
    for claim in (claim for claim in CLAIMS if claim.words.startswith("Learned allocation is ahead")):
        (pair,) = pairs(claim, frame)
        assert pair == (f"{SCALED}, learned", WEIGHT if BEST_THERE in claim.words else SCALED)
    one_step = [claim for claim in CLAIMS if claim.words.startswith("One-step adversarial training")]
    assert not any(pairs(claim, frame) for claim in one_step), "there is no other hardening"


def test_where_most_are_hardened_in_one_way_the_others_are_what_these_are_compared_with():
    fast = [variant(name, ap=ap, hardening="fast") for name, ap in ((WEIGHT, 0.2), (SCALED, 0.3))]
    frame = frame_of(*fast, variant(SCALED, ap=0.35))
    assert set(frame["configuration"]) == {WEIGHT, SCALED, f"{SCALED}, attacked hardening"}
    assert pairs(the("DeepLIFT"), frame) == {(WEIGHT, SCALED)}
    same = the("One-step adversarial training loses less than 0.01 AP to the same without it")
    assert pairs(same, frame) == {(SCALED, f"{SCALED}, attacked hardening")}
    assert best_of_the_paper(frame) == SCALED


@pytest.mark.parametrize(
    ("words", "metric", "changes", "name"),
    [
        ("Learned", "map_attacked", {"allocation": "learned"}, f"{WEIGHT}, learned"),
        ("Hybrid masks are ahead", "map_attacked", {"granularity": "hybrid"}, "deeplift_paper, hybrid"),
        ("Hybrid masks are faster", "speed_up", {"granularity": "hybrid"}, "deeplift_paper, hybrid"),
        ("One-step adversarial training loses", "map_attacked", {"hardening": "fast"}, f"{WEIGHT}, fast hardening"),
        ("One-step adversarial training takes", "training_seconds", {"hardening": "fast"}, f"{WEIGHT}, fast hardening"),
    ],
)
def test_ours_stand_against_the_papers_best_and_the_best_here(words, metric, changes, name):
    frame = frame_of(
        variant(WEIGHT, ap=0.2), variant(SCALED, ap=0.3), variant(KERNEL, ap=0.1), variant(WEIGHT, **changes)
    )
    same, papers, best = (
        claim
        for claim in CLAIMS
        if claim.family == IMPROVEMENTS and claim.words.startswith(words) and claim.metric == metric
    )
    assert pairs(same, frame) == {(name, WEIGHT)}
    assert pairs(papers, frame) == {(name, WEIGHT)}
    assert pairs(best, frame) == {(name, SCALED)}
    assert f"{SCALED} has the highest mean" in pairs_of(best, frame)[1]
    other = frame_of(variant(WEIGHT, ap=0.2), variant(SCALED, ap=0.3), variant(SCALED, **changes))
    name = name.replace("deeplift_paper", "scaled")
    assert pairs(same, other) == {(name, SCALED)}
    assert pairs(papers, other) == {(name, WEIGHT)}


def test_deeplift_of_an_attack_stands_against_scaled_scores_with_the_same_shares_and_masks():
    attack = variant(SCALED, allocation="learned")
    attack.config["init"] = {"_target_": "hydra_det.init.deeplift.AdversarialDeepLift"}
    attack.config["choices"]["init"] = "deeplift"
    frame = frame_of(attack, variant(SCALED, allocation="learned"), variant(SCALED), variant(WEIGHT))
    assert pairs(the("Scores by DeepLIFT"), frame) == {("deeplift, weight, learned", f"{SCALED}, learned")}


def test_learned_shares_are_asked_of_weights_and_of_kernels_each_beside_its_own():
    kernels = "scaled, kernel"
    learned = [variant(name, allocation="learned") for name in (SCALED, kernels)]
    learned.append(variant(SCALED, allocation="learned", granularity="filter"))
    frame = frame_of(*learned, variant(SCALED), variant(kernels), variant(SCALED, granularity="filter"))
    same = the("Learned allocation is ahead of the same without it")
    assert pairs(same, frame) == {(f"{SCALED}, learned", SCALED), (f"{kernels}, learned", kernels)}


def test_the_best_of_the_paper_is_that_over_ratios_that_all_have():
    runs = [variant(WEIGHT, ap=0.2), variant(SCALED, ap=0.3), variant(WEIGHT, ap=0.9, ratio=0.5)]
    assert best_of_the_paper(frame_of(*runs)) == SCALED
    assert best_of_the_paper(frame_of(*runs, variant(SCALED, ap=0.1, ratio=0.5))) == WEIGHT
    assert best_of_the_paper(frame_of(*runs, variant(WEIGHT, ap=0.8, allocation="learned"))) == SCALED
    assert best_of_the_paper(frame_of(variant(WEIGHT, ratio=0.0))) is None, "nothing is pruned"
    grey = variant(f"{WEIGHT}, greyscale", ap=0.9)
    assert best_of_the_paper(frame_of(*runs[:2], grey)) == SCALED, "ours are in colour"
    typed = [dataclasses.replace(record, overrides=["lr=0.2"]) for record in (variant(WEIGHT, ap=0.2), *runs[1:2])]
    typed[1].config["lr"] = 0.2
    both_named = frame_of(*typed, variant(SCALED, ap=0.1, pretrain=ADVERSARIAL | {"epochs": 9}))
    assert best_of_the_paper(both_named) == WEIGHT, "which of the scaled ones is the paper's cannot be told"
    lucky = [variant(WEIGHT, ap=0.2), variant(SCALED, ap=0.3), variant(WEIGHT, 1, ap=0.9)]
    assert best_of_the_paper(frame_of(*lucky)) == SCALED, "only of one is the lucky seed there"
    claim = Claim("ours", "map_attacked", {"allocation": "learned"}, BEST, family=IMPROVEMENTS)
    best_is_theirs = frame_of(variant(WEIGHT, ap=0.4), variant(SCALED, ap=0.3), variant(WEIGHT, allocation="learned"))
    assert pairs(claim, best_is_theirs) == {(f"{WEIGHT}, learned", WEIGHT)}


def test_of_configurations_alike_in_every_trait_the_plain_one_counts():
    longer = dataclasses.replace(variant(WEIGHT), overrides=["lr=0.2"])
    longer.config["lr"] = 0.2
    frame = frame_of(variant(SCALED), dataclasses.replace(variant(WEIGHT), overrides=[]), longer)
    assert set(frame["configuration"]) == {SCALED, WEIGHT, f"{WEIGHT}, lr=0.2"}
    assert pairs(the("DeepLIFT"), frame) == {(WEIGHT, SCALED)}
    also = dataclasses.replace(variant(WEIGHT), overrides=["lr=0.3"])
    also.config["lr"] = 0.3
    found, note = pairs_of(the("DeepLIFT"), frame_of(variant(SCALED), longer, also))
    assert found == []
    assert f"left out, as they differ in something else: {WEIGHT}, lr=0.2 · {WEIGHT}, lr=0.3" in note


def test_a_record_that_does_not_say_is_taken_as_usual():
    frame = frame_of(grid_record(WEIGHT, 0.5, 0), variant(SCALED, ratio=0.5))
    assert pairs_of(the("DeepLIFT"), frame)[0] == [Pair(WEIGHT, SCALED)]
    assert set(GRID) >= set(frame["configuration"])
