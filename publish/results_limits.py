"""What is not to be believed of results, or not without more runs: the last section of a data set in results.md."""

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from hydra_det.records.record import Record
from hydra_det.reports.paper import paper_results
from hydra_det.reports.runs import Runs
from hydra_det.reports.statistics.cautions import cautions_of
from hydra_det.reports.statistics.comparisons import compare
from hydra_det.reports.statistics.significance import POWER, detectable_paired_effect

CAUTIONS = ("data", "attack", "control", "time", "sparsity", "robustness")  # kinds of those that a report has
OF_A_FOLDER = ("sparsity", "robustness")  # their texts begin with its name
# Of COCO's train2017 (cocodataset.org), and the side of the images and the network in the paper.
COCO_IMAGES, PAPER_SIDE, PAPER_NETWORK = 118_287, 416, "yolov3"


def limits(runs: Runs, answered: pd.DataFrame) -> Iterator[str]:
    """A sentence each."""
    frame, records = runs.frame, list(runs.records.values())
    first = records[0]
    seeds = Counter(frame.groupby(["configuration", "ratio"])["seed"].nunique())
    cells = ", ".join(
        f"{count} {'cell' if count == 1 else 'cells'} with {number}" for number, count in sorted(seeds.items())
    )
    found = ", ".join(f"{detectable_paired_effect(n):.2f} with {n}" for n in sorted({min(seeds), max(seeds)}) if n > 1)
    yield f"Seeds: {cells}. " + (
        f"A paired test finds in {100 * POWER:g} % of cases an effect of so many standard deviations: {found}."
        if found
        else "One seed is no test."
    )
    of_ap = answered[answered["metric"].str.startswith("map") & answered["detectable"].notna()]["detectable"]
    if len(of_ap):
        yield (
            f"In AP that is {of_ap.min():.3f} for the claim whose seeds vary least, {of_ap.max():.3f} for the one "
            "whose seeds vary most."
        )
    network = network_of(first)
    other = "" if network == PAPER_NETWORK else f", not the paper's `{PAPER_NETWORK}`"
    yield (
        f"{first.dataset['train']:,} images to train on, {first.dataset['test']:,} to test on{side_of(first)}; the "
        f"network is `{network}`{other}."
    )
    ratios = ", ".join(f"{100 * ratio:g} %" for ratio in sorted(frame["ratio"].unique()))
    yield (
        f"Removed were {ratios}; the paper's claims are about 1 to 99 %, of DeepLIFT about 50 to 85 %, and that of "
        "unstructured pruning is tested from 25 to 90 %."
    )
    attacked = {folder for folder, _ in runs.suites}
    kinds = sorted(set(frame.loc[frame["folder"].isin(attacked), "configuration"]))
    one = "the one attack is that of the training" if trained_by_it(records) else "there was one attack"
    yield (
        f"A suite of attacks was run on {len(attacked)} of {len(records)} networks ({'; '.join(kinds)}); on the others "
        f"{one}."
        if attacked
        else f"No suite of attacks was run on these networks: {one}."
    )
    watches = [looks for record in records if (looks := _watch(record)) is not None]
    if watches:
        yield (
            f"One-step adversarial training is watched, and the full attack takes over where one step stops working: "
            f"it did in {sum(watches)} of {len(watches)} runs."
        )
    if any(record.latency for record in records):
        yield (
            "Speed-ups are quotients of two networks of one run that were timed in turn. The time of stages is wall "
            "time, of runs at different moments and beside others: the benchmarks say what a way of training costs."
        )
    cautions = cautions_of(runs.records, {}, frame, compare(runs.records, frame, late=runs.late), suites=runs.suites)
    for kind, text in cautions:
        if kind in CAUTIONS:
            yield f"{text if kind in OF_A_FOLDER else text[0].upper() + text[1:]}."
    yield from _coco(records, frame)


def trained_by_it(records: Iterable[Record]) -> bool:
    """Whether all networks were trained under the attack that they are tested under."""
    return all(
        record.config.get("attack") == record.config.get("evaluation", {}).get("attack")
        and record.config.get("choices", {}).get("hardening", "attacked") == "attacked"
        for record in records
    )


def network_of(record: Record) -> str:
    """Its name in conf/model."""
    return str(record.config.get("choices", {}).get("model", "of no name"))


def _watch(record: Record) -> bool | None:
    """Whether the watch of a cheap attack gave it up in any stage; None: there was no watch."""
    facts = [stage.get("facts", {}) for stage in record.stages]
    found = [each["fell_back_at"] for each in facts if "fell_back_at" in each]
    return any(at is not None for at in found) if found else None


def side_of(record: Record) -> str:
    """Of its images, in words."""
    side = record.config.get("data", {}).get("image_size")
    return f" of {side} px" if side else ""


def is_coco(record: Record) -> bool:
    """Whether its images are some of COCO's."""
    return record.dataset["name"].startswith("coco")


def _coco(records: Sequence[Record], frame: pd.DataFrame) -> Iterator[str]:
    """What the same runs would take on the paper's data: in proportion to images and pixels."""
    seconds = statistics.median(frame["seconds_of_stages"])
    train = statistics.median(record.dataset["train"] for record in records)
    side = records[0].config.get("data", {}).get("image_size")
    if not side or not train or not seconds:
        return
    hours = seconds / 3600 * COCO_IMAGES / train * (PAPER_SIDE / side) ** 2
    runs = len(paper_results())
    part = f"These are images of COCO, {train:,.0f} to train on of its {COCO_IMAGES:,}."
    yield (
        f"{part if is_coco(records[0]) else 'COCO was not run here.'} "
        f"The stages of a run took {seconds / 60:,.1f} minutes (median, without its start), where "
        f"they were trained; in proportion to the images and pixels of COCO ({COCO_IMAGES:,} at {PAPER_SIDE} px) that "
        f"is {hours:,.0f} hours with this network and as many epochs, and {hours * runs / 24:,.0f} days for the {runs} "
        "runs of the paper if they shared no stage."
    )
