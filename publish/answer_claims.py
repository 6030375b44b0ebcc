"""What a table of runs says to the paper's claims, where the records are not at hand.

python -m publish.answer_claims docs/report_bccd/runs.csv

The table is `runs.csv` of a report. Columns that older reports lack count as usual: pretrained under attack, hardened
by the attack of the evaluation, and one recipe for all.
"""

import argparse
from pathlib import Path

import pandas as pd

from hydra_det.records.table import COLUMNS
from hydra_det.reports.statistics.answers import answers
from hydra_det.reports.statistics.claims import PAPER
from publish.results_claims import claim_table


def main() -> None:
    """Print the answers, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    print(answered(parser.parse_args().runs))


def answered(path: Path) -> str:
    """The answers as a table in Markdown."""
    frame = pd.read_csv(path).reindex(columns=list(COLUMNS))
    frame = frame.assign(recipe=frame["recipe"].astype(object).fillna(""))
    return claim_table(answers(frame), PAPER)


if __name__ == "__main__":
    main()
