"""results.md with its figure, and the README's table, from the records in docs/replication/<data set>/.

python -m publish.write_results            # writes all three
python -m publish.write_results --check    # says whether the texts are what it would write, and writes nothing
"""

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hydra_det.records.record import RecordError
from hydra_det.reports.page.overview import overview
from hydra_det.reports.runs import Runs, read_runs
from hydra_det.reports.statistics.answers import RULE, answers
from hydra_det.reports.statistics.claims import IMPROVEMENTS, PAPER
from hydra_det.reports.statistics.gains import from_confidence
from hydra_det.reports.statistics.hints import hints_in_words
from publish.results_claims import answers_in_short, claim_table
from publish.results_figure import DENSE, draw
from publish.results_goal import goal_lines
from publish.results_limits import limits, network_of, side_of, trained_by_it
from publish.results_opening import Found, counted, first_of, opening
from publish.results_readme import summary
from publish.results_tables import (
    UNPRUNED,
    command_lines,
    engine_table,
    given_weights,
    headline,
    precision_table,
    replication_words,
    speed_table,
    suite_table,
)

ROOT = Path(__file__).parents[1]
RECORDS, FIGURE, NOTES = Path("docs/replication"), "results.png", "notes.md"
RECIPES = {"experiment=replication/grid", "experiment=replication"}  # of today, and of earlier records
COMMAND = "python -m publish.write_results"
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->"
OVERVIEW = ("Data", "Network", "Attack of the test images", "Training", "Pruning ratios", "Seeds", "Runs", "Timed on",
            "Software", "Commit")  # fmt: skip
SOURCES = {
    "bccd": "github.com/Shenggan/BCCD_Dataset, MIT licence",
    "deeppcb": "github.com/tangsanli5201/DeepPCB at 08e98c4, MIT licence, for research",
}


class Replication(NamedTuple):
    """The runs of one data set."""

    name: str  # of the folder
    runs: Runs
    answered: pd.DataFrame
    notes: list[str]  # lines that whoever made the runs adds to the limits, first what was decided on late


def main(words: list[str] | None = None, *, root: Path = ROOT) -> None:
    """Write the pages and the figure, or check the pages."""
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
        readme: filled(readme.read_text(encoding="utf-8"), "\n".join(summary({one.name: one.runs for one in found}))),
    }


def read(folder: Path) -> Replication:
    """All runs below a folder, and what they answer."""
    runs = read_runs(folder)
    notes = folder / NOTES
    lines = [f"- {decision.why} What rests on that is a hint." for decision in runs.late]
    lines += notes.read_text(encoding="utf-8").strip().splitlines() if notes.exists() else []
    return Replication(folder.name, runs, answers(runs.frame, runs.failures, late=runs.late), lines)


def filled(page: str, content: str) -> str:
    """A page with new content between the two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md: expected the lines {BEGIN.strip()!r} and {END!r}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def _page(found: Sequence[Replication]) -> Iterator[str]:
    yield "# Results"
    yield ""
    yield from opening({one.name: Found(one.runs, one.answered) for one in found})
    yield (
        "\nEvery answer rests on claims that are tested in pairs of the same seed. Yes needs a p below 0.05 after "
        "Holm's correction for many tests. So the interval of one test may exclude 0 while the answer is undecided. "
        "[In short](#in-short) has the rule, every claim and the intervals."
        + (f" {hints}" if (hints := hints_in_words(hint for one in found for hint in one.answered["hint"])) else "")
        + "\n"
    )
    if known := [line for one in found for line in (*counted(one.name, one.runs), *_named(one))]:
        yield "What to know of these answers, beside the limits of each data set below:\n"
        yield from known
        yield ""
    yield (
        f"`{COMMAND}` writes this page from the records in [replication](replication): nobody typed a number of its "
        "tables. AP is COCO's AP@[.5:.95] on the test images, under the attack that each section names. The paper is "
        "A. Liu, *Efficient and Adversarially Robust Object Detection*. Its configurations are run here; nothing is "
        "compared with the figures that it prints. `python report.py runs=...` asks the same of your own runs "
        "([how](your_own_images.md#5-ask-what-the-paper-claims-of-your-images)). [measurements.md](measurements.md) "
        "holds what was measured along the way, with the command of every number."
    )
    yield ""
    yield "## In short"
    yield f"\n{RULE} Every data set is a family of its own, for what the paper claims and for what we do.\n"
    images = " or ".join(f"{one.name} ({first_of(one.runs).dataset['train']:,} training images)" for one in found)
    networks = " or ".join(dict.fromkeys(f"`{network_of(first_of(one.runs))}`" for one in found))
    answered = {one.name: one.answered for one in found}
    yield (
        f"What the paper claims, answered for {networks} and {images}, not for its YOLOv3 on all of COCO. A cell says "
        "how far the one side is ahead, with the 95 % interval of that test alone:\n"
    )
    yield answers_in_short(answered, PAPER)
    yield "What we claim beside it, each against the same configuration without it and against the paper's best:\n"
    yield answers_in_short(answered, IMPROVEMENTS)
    yield f"![AP of every seed, clean and under attack]({FIGURE})\n"
    yield (
        f"Points are seeds, bars their means. `{DENSE}` is the hardened network, before anything is removed, that the "
        "paper's configurations in colour have in common.\n"
    )
    for one in found:
        yield from _replication(one)


def _named(one: Replication) -> list[str]:
    """What whoever made the runs adds, with the name of the data set."""
    return [line.replace("- ", f"- {one.name}: ", 1) if line.startswith("- ") else line for line in one.notes]


def _replication(one: Replication) -> Iterator[str]:
    runs = one.runs
    yield f"## {one.name}"
    yield "\n### What was run\n"
    for term, lines in overview(runs):
        if term in OVERVIEW:
            yield f"- {term}: {' · '.join(lines)}" + (
                f"; {SOURCES[one.name]}" if term == "Data" and one.name in SOURCES else ""
            )
    yield "\n```bash"
    words = shlex.join(replication_words(runs))
    yield f"python -m benchmarks.replication {words}    # at that commit; the starts, then these{_suites_then(runs)}:"
    yield from command_lines(runs.records.values())
    yield "```\n"
    if weights := given_weights(runs):
        yield f"All networks go on from `{Path(weights).name}`.\n"
    elif all(RECIPES & set(record.overrides) for record in runs.records.values()):
        yield (
            "Every seed has a start of its own, trained clean on the same images by `experiment=replication/start`, "
            "from which all of its networks go on; those without colour have one without.\n"
        )
    yield from _failures(runs)
    yield from _at_a_glance(one)
    if goal := list(goal_lines(runs.frame)):
        yield "### How far the goal was reached\n"
        yield from goal
    yield "### AP\n"
    yield precision_table(runs.frame)
    yield "### What the paper claims, and what came out\n"
    yield claim_table(one.answered, PAPER)
    yield "### What we claim beside it, and what came out\n"
    yield claim_table(one.answered, IMPROVEMENTS)
    yield "### Speed\n"
    yield speed_table(runs.frame)
    yield from filter(None, [engine_table(runs.frame)])
    if runs.suites:
        yield "### Under suites of attacks\n"
        yield suite_table(runs)
    yield "### Limits\n"
    yield from (f"- {limit}" for limit in limits(runs, one.answered))
    yield from one.notes
    yield ""


def _at_a_glance(one: Replication) -> Iterator[str]:
    """The main configurations at one ratio."""
    record, (ratio, table) = first_of(one.runs), headline(one.runs.frame)
    devices = sorted({latency["device"] for each in one.runs.records.values() for latency in each.latency.values()})
    yield "### At a glance\n"
    yield (
        f"{100 * ratio:g} % of the weights of `{network_of(record)}` removed: AP@[.5:.95] on "
        f"{record.dataset['test']:,} test images{side_of(record)}, mean ± standard deviation over seeds. Speed-up: of "
        f"forward, decode and NMS of one image at a time on {' or '.join(devices)}. Below 1 the network is slower, as "
        f"decode and NMS take longer the more boxes it leaves. {from_confidence(one.runs.frame['nms_confidence'])} "
        f"The attack is {'' if trained_by_it(one.runs.records.values()) else 'not '}that of the training"
        + ("; some networks met [suites of attacks](#under-suites-of-attacks) too." if one.runs.suites else ".")
        + (f" `{UNPRUNED}`: nothing removed, but trained on as the pruned ones." if UNPRUNED in table else "")
        + "\n"
    )
    yield table


def _suites_then(runs: Runs) -> str:
    """What the command does last, on networks of its first ratio, and how much of that is here."""
    found = runs.frame[runs.frame["folder"].isin({folder for folder, _ in runs.suites})]
    found = found[found["ratio"] == found["ratio"].min()]
    asked = found["configuration"].nunique() * runs.frame["seed"].nunique()
    here = f", {len(found)} of {asked} are here" if len(found) < asked else ""
    return f", then suites{here}" if asked else ""


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


if __name__ == "__main__":
    main()
