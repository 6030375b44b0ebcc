"""The part of the README that is written from records: a small table, and what to know of it."""

import re
from collections.abc import Iterator, Mapping

import pandas as pd

from hydra_det.records.record import nms_confidence
from hydra_det.records.table import fastest_of
from hydra_det.reports.page.overview import overview
from hydra_det.reports.runs import Runs
from hydra_det.reports.statistics.cells import metric_values
from hydra_det.reports.statistics.gains import compaction_of, from_confidence
from publish.results_limits import network_of, side_of, trained_by_it
from publish.results_opening import first_of
from publish.results_tables import (
    DENSE_CLEAN,
    DENSE_HARDENED,
    PAPERS,
    as_markdown,
    dense_by_seed,
    shown_ratio,
    spread,
)

HEADS = ("What was done", "AP, clean images", "AP, attacked images", "speed")
PAGE, SUITES = "docs/results.md", "docs/results.md#under-suites-of-attacks"
MOST = 8  # rows
DATA = {"bccd": "photos of blood cells (bccd)", "deeppcb": "photos of circuit boards (deeppcb)"}
LEARNED = "scaled, weight, learned"
LEARNED_WORDS = "Hardened, {} of the single weights removed, each layer's share learned"
FURTHER = (0.9, 0.95)  # ratios of `LEARNED` that follow
# What was done to a network, in plain words, in the order of the rows.
DENSE_WORDS = {
    DENSE_CLEAN: "Trained as usual",
    DENSE_HARDENED: "Hardened: trained under attack",
}
PRUNED_WORDS = {  # by configuration
    "deeplift_paper, weight": "Hardened, {} of the single weights removed, by the paper's DeepLIFT scores",
    "scaled, weight": "Hardened, {} of the single weights removed, by HYDRA's scores",
    "scaled, hybrid": "Hardened, {} removed, whole channels first, then single weights",
    LEARNED: LEARNED_WORDS,
}
KERNEL_WORDS = {  # where there is room
    "scaled, kernel": "Hardened, {} of the kernels removed, by HYDRA's scores",
    "deeplift_paper, kernel": "Hardened, {} of the kernels removed, by the paper's DeepLIFT scores",
}


def small_table(frame: pd.DataFrame) -> str:
    """AP clean and attacked, and speed, of the dense networks and of some with the ratio of `shown_ratio` removed."""
    rows = []
    sides = [dense_by_seed(frame, metric) for metric in ("map_clean", "map_attacked")]
    for name, words in DENSE_WORDS.items():
        if name in sides[0]:
            rows.append([words, *(spread(side[name], "{:.3f}") for side in sides), "1"])
    shown = shown_ratio(frame)
    asked = [(name, words, shown) for name, words in PRUNED_WORDS.items()]
    asked += [(LEARNED, LEARNED_WORDS, ratio) for ratio in FURTHER if ratio > shown]
    asked += [(name, words, shown) for name, words in KERNEL_WORDS.items()]
    metrics = ("map_clean", "map_attacked", speed_shown(frame))
    for name, words, ratio in asked:
        own = frame[(frame["configuration"] == name) & (frame["ratio"] == ratio)]
        if len(own) and len(rows) < MOST:
            by_seed = [metric_values(own, metric).dropna().groupby(own["seed"]).mean() for metric in metrics]
            forms = ("{:.3f}", "{:.3f}", "{:.2f}")
            rows.append([words.format(f"{100 * ratio:g} %"), *map(spread, by_seed, forms)])
    return as_markdown(pd.DataFrame(rows, columns=list(HEADS)))


def speed_shown(frame: pd.DataFrame) -> str:
    """The metric of the column of speeds: each network in its fastest engine, where compact.py timed some of them."""
    return "speed_up" if metric_values(frame, "speed_up_fastest").isna().all() else "speed_up_fastest"


def summary(found: Mapping[str, Runs]) -> Iterator[str]:
    """Lines for the README: of the data set with the most runs.

    Args:
        found: runs by data set.
    """
    name = max(found, key=lambda one: len(found[one].records))
    runs = found[name]
    record, frame = first_of(runs), runs.frame
    yield (
        f"`{network_of(record)}` on {DATA.get(name, record.dataset['name'])}: {record.dataset['train']:,} images to "
        f"train on, {record.dataset['test']:,} to test on{side_of(record)}. AP is COCO's AP@[.5:.95], mean ± standard "
        f"deviation over {frame['seed'].nunique()} seeds."
    )
    yield ""
    yield small_table(frame)
    yield from _remarks(runs)
    others = [other for other in found if other != name]
    also = f"the same for {' and '.join(others)}, " if others else ""
    yield (
        f"- [{PAGE}]({PAGE}) begins with what was found. It has {also}every test and limit, and the commands. "
        "`python -m publish.write_results` writes both from the [records](docs/replication)."
    )
    yield ""


def _remarks(runs: Runs) -> Iterator[str]:
    """What to know of the table."""
    yield f"- {_attack(runs)}"
    frame = runs.frame
    yield _speeds(runs)
    unpruned = frame[frame["configuration"].isin(PAPERS) & (frame["ratio"] == 0)]
    if len(unpruned):
        ends = (unpruned.groupby("seed")[f"map_{side}_pruned"].mean().mean() for side in ("clean", "attacked"))
        yield (
            "- Pruned networks train longer. A hardened network that trains on for as long with nothing removed ends "
            f"at {' clean and '.join(f'{end:.3f}' for end in ends)} attacked."
        )
    failed = runs.failures.keys() - runs.records.keys()
    if failed:
        yield f"- {len(failed)} of {len(failed) + len(runs.records)} runs came to no network; they are in no mean."


def _speeds(runs: Runs) -> str:
    """What the column of speeds compares."""
    if speed_shown(runs.frame) == "speed_up_fastest":
        timed = [record for record in runs.records.values() if fastest_of(record)]
        dense, small = (
            " or ".join(sorted({fastest_of(record)[network].engine for record in timed}))
            for network in ("dense", "compact")
        )
        latencies = [entry["latency"] for record in timed for entry in compaction_of(record)["latency"]]
        return (
            "- Zeros bring no speed by themselves: runtimes multiply them like any other number. [Our engine "
            "`sparse`](docs/sparse.md) leaves them out. Speed: how many times as fast as the dense network, for one "
            "image, decoding and NMS included, each network in the engine that computes it fastest in float32: the "
            f"dense one in {dense}, the pruned ones in {small}. {from_confidence(map(nms_confidence, latencies))}"
        )
    devices = sorted({latency["device"] for record in runs.records.values() for latency in record.latency.values()})
    return (
        "- **Zeros bring no speed by themselves**: runtimes multiply them like any other number, "
        "[our sparse engine](docs/sparse.md) does not. Speed here is without it: that of the "
        "network after compaction, with decoding and NMS, as a multiple of the dense network's"
        + (f", on {' or '.join(devices)}. {from_confidence(runs.frame['nms_confidence'])}" if devices else ".")
    )


def _attack(runs: Runs) -> str:
    """That of the test images, and whether other ones were tried."""
    words = re.sub("^Attacked: ", "", " ".join(dict(overview(runs))["Attack of the test images"])).rstrip(".")
    trained = trained_by_it(runs.records.values())
    said = f"Attack: {words}{'; the training uses the same one' if trained else ''}."
    said += " The robust AP is at most that under this attack."
    return said + (f" Some networks also met [suites of attacks]({SUITES})." if runs.suites else "")
