"""Claims and their answers in results.md, as Markdown; an answer that is a hint only is called one in its cell."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from hydra_det.reports.statistics.answers import AS_ABOVE, BARE, SMALL, shown
from hydra_det.reports.statistics.claims import BEST_THERE
from hydra_det.reports.statistics.hints import LATE, hints_in_words
from publish.results_tables import as_markdown


def claim_table(answered: pd.DataFrame, family: str) -> str:
    """A row a claim of a family, with the answer; below, what a hint is, if there is one."""
    own = answered[answered["family"] == family]
    return _with_hints(as_markdown(shown(own)), own["hint"])


def answers_in_short(answered: Mapping[str, pd.DataFrame], family: str) -> str:
    """What the data sets answer, a column each."""
    columns = {}
    for name, table in answered.items():
        own = shown(table, family=family)
        most = max((int(seeds) for seeds in own["seeds"] if seeds), default=0)
        texts = pd.Series([_in_short(row, most) for row in own.to_dict("records")], own.index, dtype=str)
        keys = own["claim"] + ", " + own["metric"]
        # Several rows as of ours, one a configuration; and which is best in the paper is not in its claim.
        named = keys.duplicated(keep=False) | own["claim"].str.contains(BEST_THERE) & (own["compared"] != "")
        texts = texts.where(~named, own["compared"] + ", " + texts)
        columns[name] = texts.groupby(keys, sort=False).agg("; ".join)
    frame = pd.DataFrame(columns).reset_index(names="claim")
    order = list(dict.fromkeys(key for column in columns.values() for key in column.index))
    frame = frame.set_index("claim").loc[order].reset_index()
    hints = (table.loc[table["family"] == family, "hint"] for table in answered.values())
    return _with_hints(as_markdown(frame), itertools.chain.from_iterable(hints))


def _with_hints(table: str, hints: Iterable[str]) -> str:
    """A table in Markdown, and below it what a hint is, if one of its rows is one."""
    words = hints_in_words(hints)
    return f"{table}\n{words}\n" if words else table


def _in_short(row: Mapping[Any, str], most: int) -> str:
    """Answer, effect, and of what; `most` is the largest number of seeds that an answer rests on."""
    if row["answer"] == AS_ABOVE:
        return row["note"].partition(";")[0]
    remarks = [row["ratios"]] if "," in row["ratios"] else []
    if row["seeds"] and int(row["seeds"]) < most:
        remarks.append(f"{row['seeds']} seed{'s' if int(row['seeds']) > 1 else ''}")
    remarks += [words for words in (BARE, SMALL, LATE) if words in row["note"]]
    effect = f": {row['effect [95 %]']}" if row["effect [95 %]"] else ""
    return row["answer"] + effect + (f" ({', '.join(remarks)})" if remarks else "")
