"""What a table of runs says to the paper's claims, where the records are not at hand.

python -m docs.answer_claims docs/report_bccd/runs.csv             # the answers, as Markdown
python -m docs.answer_claims docs/report_bccd/runs.csv --readme    # and the README's table from these runs

The table is `runs.csv` of a report. Columns that older reports lack count as usual: pretrained under attack, hardened
by the attack of the evaluation, and one recipe for all. Once there are records, `docs.write_results` takes their place.
"""

import argparse
from pathlib import Path

import pandas as pd

from docs.results_tables import claim_table, headline
from docs.write_results import ROOT, filled
from hydra_det.reports.answers import answers
from hydra_det.reports.claims import PAPER
from hydra_det.reports.records import COLUMNS


def main() -> None:
    """Print the answers; write the README's table if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--readme", action="store_true")
    options = parser.parse_args()
    print(answered(options.runs))
    if options.readme:
        path = ROOT / "README.md"
        path.write_text(filled(path.read_text(encoding="utf-8"), summary(options.runs)), encoding="utf-8")


def answered(path: Path) -> str:
    """The answers as a table in Markdown."""
    return claim_table(answers(_runs(path)), PAPER)


def summary(path: Path) -> str:
    """The table of the README, and what it is of."""
    frame = _runs(path)
    ratio, table = headline(frame)
    data = str(frame["name"].iloc[0]).partition("_")[0]
    seeds = frame["seed"].nunique()
    return (
        f"{len(frame)} networks on real images ({data}), here those with {100 * ratio:g} % of the weights removed: "
        f"mean ± standard deviation over {seeds} seeds of a narrow YOLOv3, AP@[.5:.95], attacked by PGD-5 in a ball of "
        "12.75/255. What they say to the paper's claims, their limits and the command are in "
        "[measurements](docs/measurements.md#a-grid-on-blood-cells).\n\n"
        f"{table.strip()}\n\nSpeed-ups are those of forward, decode and NMS of single images on a CPU, 5 % too small "
        "in this grid. What `compact.py` gains with masks of whole channels: [benchmarks](docs/benchmarks.md).\n"
    )


def _runs(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path).reindex(columns=list(COLUMNS))
    return frame.assign(recipe=frame["recipe"].astype(object).fillna(""))


if __name__ == "__main__":
    main()
