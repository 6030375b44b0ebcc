"""results.md with its figure, and the first table of the README, from the records in docs/replication/<data set>/.

python -m docs.write_results            # writes all three
python -m docs.write_results --check    # says whether the texts are what it would write, and writes nothing
"""

import argparse
import shlex
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from docs.results_figure import DENSE, draw
from docs.results_tables import (
    answers_in_short,
    claim_table,
    command_lines,
    headline,
    precision_table,
    replication_words,
    speed_table,
    suite_table,
)
from hydra_det.record import Record, RecordError
from hydra_det.reports.answers import NOT_TESTED, RULE, answers
from hydra_det.reports.cautions import cautions_of
from hydra_det.reports.claims import IMPROVEMENTS, PAPER
from hydra_det.reports.comparisons import compare
from hydra_det.reports.overview import overview
from hydra_det.reports.paper import paper_results
from hydra_det.reports.runs import Runs, read_runs
from hydra_det.reports.statistics import POWER, detectable_paired_effect

ROOT = Path(__file__).parents[1]
RECORDS, FIGURE = Path("docs/replication"), "results.png"
COMMAND = "python -m docs.write_results"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->"
OVERVIEW = ("Data", "Network", "Attack of the test images", "Training", "Pruning ratios", "Seeds", "Runs", "Timed on",
            "Software", "Commit")  # fmt: skip
CAUTIONS = ("data", "attack", "control", "time", "sparsity", "robustness")  # kinds of those that a report has
# Of COCO's train2017 (cocodataset.org), and the side of the images and the network in the paper.
COCO_IMAGES, PAPER_SIDE, PAPER_NETWORK = 118_287, 416, "yolov3"


class Replication(NamedTuple):
    """The runs of one data set."""

    name: str  # of the folder
    runs: Runs
    answered: pd.DataFrame


def main(words: list[str] | None = None, *, root: Path = ROOT) -> None:
    """Write the two pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is not as it would be")
    check = parser.parse_args(words).check
    try:
        found = replications(root)
    except RecordError as error:
        sys.exit(str(error))
    written = pages(root, found)
    for path, text in written.items():
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.relative_to(root)}: not what its records say; run `{COMMAND}`")
    if check and not (root / "docs" / FIGURE).exists():
        sys.exit(f"docs/{FIGURE}: not there; run `{COMMAND}`")
    if not check:
        draw({one.name: one.runs.frame for one in found}).savefig(root / "docs" / FIGURE, dpi=110)


def replications(root: Path) -> list[Replication]:
    """Those whose records are kept, by data set."""
    folders = sorted(path for path in (root / RECORDS).glob("*") if path.is_dir())
    if not folders:
        sys.exit(f"{RECORDS}: expected a folder of records for each data set, got none")
    found = [read(folder) for folder in folders]
    for one in found:
        for place, problem in one.runs.problems.items():
            sys.exit(f"{RECORDS / one.name}: {place}: {problem}")
    return found


def pages(root: Path, found: Sequence[Replication]) -> dict[Path, str]:
    """The pages with their texts."""
    readme = root / "README.md"
    return {
        root / "docs" / "results.md": "\n".join(_page(found)),
        readme: filled(readme.read_text(encoding="utf-8"), "\n".join(_summary(found))),
    }


def read(folder: Path) -> Replication:
    """All runs below a folder, and what they answer."""
    runs = read_runs(folder)
    return Replication(folder.name, runs, answers(runs.frame, runs.failures))


def filled(page: str, content: str) -> str:
    """A page with new content between the two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md: expected the lines {BEGIN.strip()!r} and {END!r}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def _summary(found: Sequence[Replication]) -> Iterator[str]:
    """For the README: the data set with the most runs."""
    most = max(found, key=lambda one: len(one.runs.records))
    others = f"also of {', '.join(one.name for one in found if one is not most)}, " if len(found) > 1 else ""
    ratio, table = headline(most.runs.frame)
    record = next(iter(most.runs.records.values()))
    devices = sorted({latency["device"] for each in most.runs.records.values() for latency in each.latency.values()})
    yield (
        f"{record.dataset['name']}, {100 * ratio:g} % of the weights of `{_network(record)}` removed: AP@[.5:.95] on "
        f"{record.dataset['test']:,} test images{_side(record)}, mean ± standard deviation over seeds. "
        f"{' '.join(dict(overview(most.runs))['Attack of the test images'])} Speed-up: of forward, decode and NMS of "
        f"one image at a time on {' or '.join(devices)}."
    )
    yield ""
    yield table
    yield "What the paper claims, answered [by this rule](docs/results.md#in-short), with effects and intervals:\n"
    yield answers_in_short({one.name: one.answered for one in found}, PAPER)
    yield (
        f"What we claim beside it, of {most.name}: {_counted(most.answered, IMPROVEMENTS)}. "
        f"[docs/results.md](docs/results.md) has every cell, test and limit, {others}and the commands of the runs. "
        f"`{COMMAND}` writes both from the records in [{RECORDS}]({RECORDS})."
    )
    yield ""


def _counted(answered: pd.DataFrame, family: str) -> str:
    own = Counter(answered.loc[answered["family"] == family, "answer"])
    return ", ".join(f"{own[answer]} {answer}" for answer in ("yes", "no", "undecided", NOT_TESTED) if own[answer])


def _page(found: Sequence[Replication]) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield (
        f"Written by `{COMMAND}` from the records in [replication](replication): no number of a run was typed. AP is "
        "COCO's AP@[.5:.95] on the test images, attacked as is said below. What was measured along the way, with the "
        "command of every number, stands in [measurements.md](measurements.md)."
    )
    yield ""
    yield "## In short"
    answered = {one.name: one.answered for one in found}
    for title, family in (("What the paper claims", PAPER), ("What we claim beside it", IMPROVEMENTS)):
        yield f"\n{title}:\n"
        yield answers_in_short(answered, family)
    yield f"![AP of every seed, clean and under attack]({FIGURE})\n"
    yield (
        f"Points are seeds, bars their means. `{DENSE}` is the hardened network, before anything is removed, that the "
        "paper's configurations in colour have in common.\n"
    )
    yield f"{RULE} Every data set is a family of its own, for what the paper claims and for what we do."
    yield ""
    for one in found:
        yield from _replication(one)


def _replication(one: Replication) -> Iterator[str]:
    runs = one.runs
    yield f"## {one.name}"
    yield "\n### What was run\n"
    for term, lines in overview(runs):
        if term in OVERVIEW:
            yield f"- {term}: {'; '.join(lines)}"
    yield "\n```bash"
    words = shlex.join(replication_words(runs))
    yield f"python -m benchmarks.replication {words}    # starts, grid and suites; it makes these:"
    yield from command_lines(runs.records.values())
    yield "```\n"
    if all("experiment=replication" in record.overrides for record in runs.records.values()):
        yield (
            "Every seed has a start of its own, trained clean on the same images by `experiment=replication_start`, "
            "from which all of its networks go on.\n"
        )
    yield from _failures(runs)
    yield "### AP\n"
    yield precision_table(runs.frame)
    yield "### What the paper claims, and what came out\n"
    yield claim_table(one.answered, PAPER)
    yield "### What we claim beside it, and what came out\n"
    yield claim_table(one.answered, IMPROVEMENTS)
    yield "### Speed\n"
    yield speed_table(runs.frame)
    if runs.suites:
        yield "### Under suites of attacks\n"
        yield suite_table(runs)
    yield "### Limits\n"
    yield from (f"- {limit}" for limit in _limits(one))
    yield ""


def _failures(runs: Runs) -> Iterator[str]:
    """Runs that came to nothing are a result, too."""
    failed = {folder: text for folder, text in runs.failures.items() if folder not in runs.records}
    reasons = Counter(" ".join(text.split()) for text in failed.values())
    if failed:
        yield f"Failed runs: {len(failed)}.\n"
        for reason, count in sorted(reasons.items()):
            folders = ", ".join(f"`{folder}`" for folder, text in failed.items() if " ".join(text.split()) == reason)
            yield f"- {count}, {folders}: {reason}"
        yield ""


def _limits(one: Replication) -> Iterator[str]:
    frame, records = one.runs.frame, list(one.runs.records.values())
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
    of_ap = one.answered[one.answered["metric"].str.startswith("map") & one.answered["detectable"].notna()][
        "detectable"
    ]
    if len(of_ap):
        yield (
            f"In AP that is {of_ap.min():.3f} for the claim whose seeds vary least, {of_ap.max():.3f} for the one "
            "whose seeds vary most."
        )
    network = _network(first)
    other = "" if network == PAPER_NETWORK else f", not the paper's `{PAPER_NETWORK}`"
    yield (
        f"{first.dataset['train']:,} images to train on, {first.dataset['test']:,} to test on{_side(first)}; the "
        f"network is `{network}`{other}."
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
    found = cautions_of(one.runs.records, {}, frame, compare(one.runs.records, frame), suites=one.runs.suites)
    yield from (f"{caution.kind}: {caution.text}." for caution in found if caution.kind in CAUTIONS)
    yield from _coco(records, frame)


def _network(record: Record) -> str:
    return str(record.config.get("choices", {}).get("model", "of no name"))


def _watch(record: Record) -> bool | None:
    """Whether the watch of a cheap attack gave it up in any stage; None: there was no watch."""
    facts = [stage.get("facts", {}) for stage in record.stages]
    found = [each["fell_back_at"] for each in facts if "fell_back_at" in each]
    return any(at is not None for at in found) if found else None


def _side(record: Record) -> str:
    side = record.config.get("data", {}).get("image_size")
    return f" of {side} px" if side else ""


def _coco(records: Sequence[Record], frame: pd.DataFrame) -> Iterator[str]:
    """What the same runs would take on the paper's data: in proportion to images and pixels."""
    seconds = statistics.median(frame["seconds_of_stages"])
    train = statistics.median(record.dataset["train"] for record in records)
    side = records[0].config.get("data", {}).get("image_size")
    if not side or not train or not seconds:
        return
    hours = seconds / 3600 * COCO_IMAGES / train * (PAPER_SIDE / side) ** 2
    runs = len(paper_results())
    yield (
        f"COCO was not run. The stages of a run took {seconds / 60:,.1f} minutes (median), where they were trained; in "
        f"proportion to the images and pixels of COCO ({COCO_IMAGES:,} at {PAPER_SIDE} px) that is {hours:,.0f} hours "
        f"with this network and as many epochs, and {hours * runs / 24:,.0f} days for the {runs} runs of the paper if "
        "they shared no stage."
    )


if __name__ == "__main__":
    main()
