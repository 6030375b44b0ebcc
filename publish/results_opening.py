"""What was found, in plain words: the first lines of results.md, from the answers to the claims and the runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from hydra_det.records.record import Record
from hydra_det.reports.runs import Runs
from hydra_det.reports.statistics.answers import BARE, SMALL, shown
from hydra_det.reports.statistics.cautions import timed_beside_others
from hydra_det.reports.statistics.cells import metric_values
from hydra_det.reports.statistics.gains import from_confidence
from publish.results_limits import is_coco, network_of, side_of
from publish.results_tables import DENSE_CLEAN, DENSE_HARDENED, dense_by_seed

# A line each: questions in plain words, with the claim that answers them, by its words in `claims.CLAIMS`.
QUESTIONS = (
    (
        (
            "Does training under attack (hardening) help against attacks?",
            "Networks pretrained on adversarial images have an increased resilience against attacks: before pruning",
        ),
        (
            "And after pruning and fine-tuning?",
            "Adversarial pretraining still helps after pruning and fine-tuning",
        ),
    ),
    (
        (
            "Do DeepLIFT's scores keep more than HYDRA's own, the scaled ones?",
            "DeepLIFT consistently outperforms scaled initialization within the 50%-85% range for both pruning methods",
        ),
    ),
    (
        (
            "Do scores by DeepLIFT of what an attack does keep more than the scaled ones?",
            "Scores by DeepLIFT of what an attack does are ahead of scaled ones",
        ),
    ),
    (
        (
            "Does removing single weights keep more than removing kernels?",
            "Unstructured pruning consistently achieves higher mAP than structured pruning for both initialization "
            "methods",
        ),
    ),
    (
        (
            "Does it help to learn how many weights each layer keeps?",
            "Learned allocation is ahead of the same without it",
        ),
    ),
    (
        (
            "Do hybrid masks, channels first and then weights, keep more than single weights?",
            "Hybrid masks are ahead of the same without it",
        ),
        ("Are they faster?", "Hybrid masks are faster than the same without it: compact networks"),
    ),
    (
        (
            "Does hardening with one step lose less than 0.01 AP?",
            "One-step adversarial training loses less than 0.01 AP to the same without it",
        ),
        ("Does it take less time?", "One-step adversarial training takes less time than the same without it"),
    ),
    (
        (
            "Do networks without colour find less under attack?",
            "Models trained with greyscale images exhibit significantly lower mAP: under attack",
        ),
    ),
)
KERNELS_FASTER = (
    (
        "Are networks that lost kernels faster than those that lost single weights?",
        "Structured pruning provides a significant boost in inference speed over unstructured: compact networks",
    ),
    (
        "And each in the engine that computes it fastest?",
        "Structured pruning provides a significant boost in inference speed over unstructured: compact networks, each "
        "in its fastest engine",
    ),
)
METRIC_WORDS = {  # what the means of an answer are
    "map_attacked": "AP attacked {}",
    "map_attacked_dense": "AP attacked {}",
    "speed_up": "{} times the dense network's speed",
    "speed_up_fastest": "{} times the dense network's speed",
    "training_seconds": "{} of training",
}


class Found(NamedTuple):
    """The runs of one data set, and what they answer."""

    runs: Runs
    answered: pd.DataFrame


def opening(found: Mapping[str, Found]) -> Iterator[str]:
    """A line for what was run, for every question, for what hardening costs and for speed; by data set."""
    yield f"- {_what_was_run(found)}"
    hardening, *others = QUESTIONS
    yield f"- {_asked(hardening, found)}"
    if costs := list(_costs(found)):
        yield f"- **What does hardening cost on clean images?** AP of the dense networks: {'; '.join(costs)}."
    yield from (f"- {_asked(questions, found)}" for questions in others)
    floors = from_confidence(value for one in found.values() for value in one.runs.frame["nms_confidence"])
    speeds = f"1 is the speed of the dense network: {'; '.join(_speeds(found))}. {floors}"
    yield f"- **How fast are pruned networks?** {speeds} {_asked(KERNELS_FASTER, found)}"


def counted(name: str, runs: Runs) -> Iterator[str]:
    """What the records say against themselves."""
    every = len(runs.records)
    if failed := runs.failures.keys() - runs.records.keys():
        yield f"- {name}: {len(failed)} of {every + len(failed)} runs came to no network."
    if busy := timed_beside_others(runs.records):
        yield f"- {name}: other work ran on the machine while times were taken in {len(busy)} of {every} runs."


def first_of(runs: Runs) -> Record:
    """A record, for what all have in common."""
    return next(iter(runs.records.values()))


def _what_was_run(found: Mapping[str, Found]) -> str:
    parts = []
    for name, one in found.items():
        record, seeds = first_of(one.runs), one.runs.frame["seed"].nunique()
        parts.append(
            f"{len(one.runs.records)} networks of {name} (`{network_of(record)}`, {record.dataset['train']:,} training "
            f"images{side_of(record)}, {seeds} {'seed' if seeds == 1 else 'seeds'})"
        )
    none = not any(is_coco(first_of(one.runs)) for one in found.values())
    about = f"Everything below is about these networks{', not about COCO' if none else ''}."
    return f"**What was run?** {' and '.join(parts)}. {about}"


def _asked(questions: Sequence[tuple[str, str]], found: Mapping[str, Found]) -> str:
    """Questions that share a line, each with the answer of every data set."""
    answers = {
        question: "; ".join(f"{name}: {_answer(one.answered, claim)}" for name, one in found.items())
        for question, claim in questions
    }
    return " ".join(f"**{question}** {text}." for question, text in answers.items())


def _answer(answered: pd.DataFrame, claim: str) -> str:
    """Such as `yes, AP attacked 0.093 against 0.035`. Several comparisons are named and stand by their answers."""
    own = answered[answered["claim"] == claim]
    words = METRIC_WORDS[own["metric"].iloc[0]]
    texts: dict[str, list[str]] = {}
    for row in shown(own).to_dict("records"):
        texts.setdefault(row["answer"], []).append(_means(row, named=len(own) > 1))
    return "; ".join(
        f"{answer}, {words.format(' and '.join(means))}" if all(means) else answer for answer, means in texts.items()
    )


def _means(row: Mapping[Any, str], *, named: bool) -> str:
    remarks = [row["compared"]] if named else []
    remarks += [text for text in (BARE, SMALL) if text in row["note"]]
    text = row["means"].replace(" / ", " against ")
    return f"{text} ({'; '.join(remarks)})" if text and remarks else text


def _costs(found: Mapping[str, Found]) -> Iterator[str]:
    for name, one in found.items():
        dense = dense_by_seed(one.runs.frame, "map_clean")
        if len(dense) > 1:
            yield f"{name} {dense[DENSE_HARDENED].mean():.3f} instead of {dense[DENSE_CLEAN].mean():.3f}"


def _speeds(found: Mapping[str, Found]) -> Iterator[str]:
    """The slowest and the fastest configuration at any ratio, mean over seeds, with masks and after compaction."""
    for name, one in found.items():
        pruned = one.runs.frame[one.runs.frame["ratio"] > 0]
        texts = []
        for metric, words in (("speed_up_masked", "with masks alone"), ("speed_up", "after compaction")):
            values = metric_values(pruned, metric).groupby([pruned["configuration"], pruned["ratio"]]).mean().dropna()
            if len(values):
                texts.append(f"{words} {values.min():.2f} to {values.max():.2f}")
        yield f"{name} {', '.join(texts) or 'not timed'}"
