"""The tables of results.md and of the README, as Markdown, from the runs of one data set."""

import itertools
import shlex
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from hydra_det.records.record import PROTOCOLS, Record
from hydra_det.records.robustness import suite_name
from hydra_det.records.traits import usual_among
from hydra_det.reports.paper import CONFIGURATIONS
from hydra_det.reports.runs import Runs
from hydra_det.reports.statistics.cells import METRICS, metric_values, seed_values
from hydra_det.reports.statistics.gains import from_confidence
from hydra_det.reports.tables.paper_tables import Table, to_markdown

SHOWN_RATIO = 0.75  # removed
DENSE_CLEAN, DENSE_HARDENED, UNPRUNED = "dense, clean pretraining", "dense, hardened", "dense, fine-tuned"
PAPERS = tuple(cell.configuration for cell in CONFIGURATIONS.values() if not cell.greyscale)
ROBUST = "robust AP ≤"
ROWS = 8  # of that table at the most
# What `benchmarks.replication` types itself.
OF_THE_REPLICATION = ("experiment", "sweep", "model.weights", "seed", "prune.ratio", "configuration")
LEFT_OUT = ("hydra.", "store=", "dry_run=")  # of what was typed: where things lie
PLACES = {"data.root": "path/to/{name}", "model.weights": "path/to/{file}"}
OWN_START = "${"  # in a path that every seed has for itself
# After the paper's four in colour, by what the record says.
OURS = (("allocation", "learned"), ("granularity", "hybrid"), ("hardening", None), ("pretraining", "clean"))


def command_lines(records: Iterable[Record]) -> list[str]:
    """The commands that make these runs again: runs for which the same keys were typed share one."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for record in records:
        typed = dict(_typed(record))
        groups.setdefault(tuple(sorted(typed)), []).append(typed)
    lines = []
    for runs in groups.values():
        values = {key: list(dict.fromkeys(run[key] for run in runs)) for key in runs[0]}
        varied = {key: sorted(found, key=_by_number) for key, found in values.items() if len(found) > 1}
        words = [f"{key}={','.join(found)}" for key, found in varied.items()]
        words += [f"{key}={found[0]}" for key, found in values.items() if key not in varied]
        asked = len(list(itertools.product(*varied.values())))
        note = f"    # {len(runs)} of these {asked} are here" if len(runs) < asked else ""
        lines.append(f"python train.py {'-m ' if varied else ''}{' '.join(map(shlex.quote, words))}{note}")
    return lines


def replication_words(runs: Runs) -> list[str]:
    """What `benchmarks.replication` is told for these runs: what all were told, then which of its grid."""
    typed = [dict(_typed(record)) for record in runs.records.values()]
    common = set.intersection(*(set(words.items()) for words in typed))
    words = [f"{key}={value}" for key, value in sorted(common) if key not in OF_THE_REPLICATION]
    words += ["--weights", given] if (given := given_weights(runs)) else []
    by_folder = {row["folder"]: row for row in runs.frame.to_dict("records")}
    attacked = [by_folder[folder] for folder, _ in runs.suites if folder in by_folder]
    first = [f"{ratio:g}" for ratio in dict.fromkeys(row["ratio"] for row in attacked)]  # suites are of the first one
    for key, option in (("seed", "--seeds"), ("prune.ratio", "--ratios"), ("configuration", "--configurations")):
        values = {found[key] for found in typed if key in found}
        if values:
            words += [option, *sorted(values, key=lambda value: (value not in first, *_by_number(value)))]
    names = {dict(_typed(runs.records[row["folder"]])).get("configuration", "") for row in attacked}
    suite = min((found["suite"] for _, found in runs.suites), default="")
    return [*words, "--suite", suite, *(["--attacked", *sorted(filter(None, names))] if any(names) else [])]


def given_weights(runs: Runs) -> str | None:
    """The file that all runs were told to start from; None where every seed had a start of its own, or none."""
    typed = {_as_typed(record).get("model.weights", OWN_START) for record in runs.records.values()}
    only = next(iter(typed))
    return PLACES["model.weights"].format(file=Path(only).name) if len(typed) == 1 and OWN_START not in only else None


def precision_table(frame: pd.DataFrame) -> str:
    """AP clean and attacked of every cell, and first that of the dense networks."""
    columns = {
        metric: {"dense": _by_seed(frame, f"{metric}_dense"), **_cells(frame, metric)}
        for metric in ("map_clean", "map_attacked")
    }
    caption = "AP clean / AP attacked, mean ± standard deviation over seeds, by the share of the weights removed."
    if (frame["ratio"] == 0).any():
        caption += " At 0 % nothing is: dense networks that went through the same stages as the pruned ones."
    return _pair_table(frame, columns, caption, "{:.3f}")


def speed_table(frame: pd.DataFrame) -> str:
    """How many times as fast as the dense one the masked and the compact network are."""
    metrics = ("speed_up_masked", "speed_up", "forward_speed_up", "parameters_share")
    columns = {metric: _cells(frame, metric) for metric in metrics}
    caption = (
        "How many times as fast as the dense network of the same run, timed in turn with it (below 1: slower): masked "
        "/ compact / the forward pass of the compact network alone; last, its share of the dense network's parameters. "
        "What is not the forward pass is decode and NMS, which take the longer the more boxes a network leaves. "
        f"{from_confidence(frame['nms_confidence'])}"
    )
    return _pair_table(frame, columns, caption, "{:.2f}")


def engine_table(frame: pd.DataFrame) -> str:
    """How many times as fast as the dense network the compact one is, each in its fastest engine; of none nothing."""
    if metric_values(frame, "speed_up_fastest").isna().all():
        return ""
    caption = (
        "How many times as fast as the dense network, each network in the engine that computes it fastest in float32, "
        "one image at a time, decode and NMS included; timed by compact.py, engine after engine, of some networks."
    )
    return _pair_table(frame, {"speed_up_fastest": _cells(frame, "speed_up_fastest")}, caption, "{:.2f}")


def suite_table(runs: Runs) -> str:
    """AP clean, under PGD of the suite and, at most, under any attack in the ball."""
    cells = {row["folder"]: row for row in runs.frame.to_dict("records")}
    rows = []
    for folder, found in runs.suites:
        run = cells.get(folder)
        pgd = next((a for a in found["attacks"] if a["name"] == "pgd"), None) or next(
            (a for a in found["attacks"] if a["attack"]["name"] == "pgd"), None
        )
        rows.append(
            {
                "configuration": run["configuration"] if run else Path(folder).name,
                "removed": f"{100 * run['ratio']:g} %" if run else "",
                "network": found["network"],
                "suite": suite_name(found),
                "epsilon": "" if found["epsilon"] is None else f"{found['epsilon'] * 255:.4g}/255",
                "images": found["images"],
                "clean": found["clean"]["coco"]["map"],
                "PGD": pgd["metrics"]["coco"]["map"] if pgd else None,
                ROBUST: found["robust_map"],
                "seed": run["seed"] if run else None,
                "checked": sum(alarm["raised"] is not None for alarm in found["alarms"]),
                "alarms": "; ".join(sorted(alarm["name"] for alarm in found["alarms"] if alarm["raised"])) or "none",
            }
        )
    table = pd.DataFrame(rows)
    keys = ["configuration", "removed", "network", "suite", "epsilon", "images"]
    made = []
    for key, own in table.groupby(keys, sort=True):
        numbers = {name: spread(own[name].dropna().astype(float), "{:.3f}") for name in ("clean", "PGD", ROBUST)}
        alarms = dict.fromkeys(name for text in own["alarms"] for name in text.split("; "))
        raised = "; ".join(name for name in alarms if name != "none") or "none"
        checked = sorted(set(own["checked"]))
        said = f"{raised} of {' to '.join(map(str, checked))} checked"
        seeds = ", ".join(str(int(seed)) for seed in own["seed"].dropna())
        same = dict(zip(keys, map(str, key), strict=True))
        made.append({**same, "seeds": seeds, **numbers, "alarms": said})
    frame = pd.DataFrame(made).astype(str)
    caption = (
        "AP clean, under the PGD of the suite, and with every image under the attack that hurts it most. The robust AP "
        "is at most that: a stronger attack may find less."
    )
    return as_markdown(frame, caption)


def headline(frame: pd.DataFrame) -> tuple[float, str]:
    """A ratio, and a table of the main configurations at that ratio, a row each."""
    ratio = shown_ratio(frame)
    at = frame[frame["ratio"] == ratio]
    rows = [_row(at, name) for name in _main(at)]
    rows = [{column: dense.get(column, "-") for column in rows[0]} for dense in _dense(frame)] + rows
    table = pd.DataFrame(rows)
    return ratio, as_markdown(table)


def _row(at: pd.DataFrame, name: str) -> dict[str, str]:
    return {
        "": name,
        "AP clean": _metric(at, name, "map_clean"),
        "AP attacked": _metric(at, name, "map_attacked"),
        "kept of its dense network's AP attacked": _metric(at, name, "retention_attacked"),
        f"speed-up, compact{_marked(at)}": _metric(at, name, "speed_up"),
        "parameters, compact / dense": _metric(at, name, "parameters_share"),
        "seeds": str(at.loc[at["configuration"] == name, "seed"].nunique()),
    }


def _marked(frame: pd.DataFrame) -> str:
    """What is said beside totals whose NMS did not start where a product would start it."""
    floors = sorted(frame["nms_confidence"].dropna().unique())
    low = [floor for floor in floors if floor < PROTOCOLS["paper"]]
    return f" (NMS ≥ {' or '.join(f'{floor:g}' for floor in floors)})" if low else ""


def _dense(frame: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Of the one that was never attacked, of the hardened one, and of that trained on unpruned."""
    sides = {side: dense_by_seed(frame, f"map_{side}") for side in ("clean", "attacked")}
    for name in sides["clean"]:
        texts = {f"AP {side}": spread(values[name], "{:.3f}") for side, values in sides.items()}
        yield {"": name, **texts, "seeds": str(len(sides["clean"][name]))}
    runs = frame[frame["configuration"].isin(PAPERS)]
    unpruned = runs[runs["ratio"] == 0].assign(configuration=UNPRUNED)
    if len(unpruned):
        yield _row(unpruned, UNPRUNED)


def dense_by_seed(frame: pd.DataFrame, metric: str) -> dict[str, pd.Series]:
    """A metric of the dense networks, by seed: of those pretrained clean, and of the hardened ones that the paper's
    configurations in colour have in common. Those that are there."""
    kinds = {DENSE_CLEAN: frame["pretraining"] == "clean", DENSE_HARDENED: frame["configuration"].isin(PAPERS)}
    found = {name: frame[chosen].groupby("seed")[f"{metric}_dense"].mean() for name, chosen in kinds.items()}
    return {name: values for name, values in found.items() if len(values)}


def shown_ratio(frame: pd.DataFrame) -> float:
    """Of `headline`, the table of the README and the figure: `SHOWN_RATIO`, or what is nearest to it."""
    ratios = sorted(float(ratio) for ratio in frame["ratio"].unique() if ratio > 0) or [0.0]
    return min(ratios, key=lambda one: (abs(one - SHOWN_RATIO), one))


def _main(at: pd.DataFrame) -> list[str]:
    """The paper's four in colour, then ours, by name."""
    there = sorted(at["configuration"].unique())
    first = [name for name in PAPERS if name in there]
    usual = usual_among(at["hardening"])["hardening"]
    ours = []
    for trait, value in OURS:
        for name in there:
            own = at.loc[at["configuration"] == name, trait]
            # Hardened otherwise than most; a record that does not say is not.
            is_ours = (own.notna() & (own != usual)).all() if value is None else (own == value).all()
            ours += [name] if is_ours and name not in first else []
    return list(dict.fromkeys([*first, *ours]))[:ROWS] or there[:ROWS]


def _metric(at: pd.DataFrame, configuration: str, metric: str) -> str:
    own = at[at["configuration"] == configuration]
    values = metric_values(own, metric).dropna().groupby(own["seed"]).mean()
    if metric.startswith("retention"):
        if (own["pretraining"] == "clean").all():
            return "-"  # of a network that never saw an attack there is next to nothing to keep
        return spread(100 * values, "{:.0f}") + " %" if len(values) else "-"
    return spread(values, METRICS[metric].form)


def _cells(frame: pd.DataFrame, metric: str) -> dict[str, pd.Series]:
    """Values by configuration and seed, by ratio as it heads a column."""
    values = seed_values(frame, metric)
    return {f"{100 * r:g} %": values.xs(r, level="ratio") for r in sorted(values.index.unique("ratio"))}


def _by_seed(frame: pd.DataFrame, column: str) -> pd.Series:
    return frame.dropna(subset=[column]).groupby(["configuration", "seed"])[column].mean()


def _pair_table(frame: pd.DataFrame, columns: Mapping[str, Mapping[str, pd.Series]], caption: str, form: str) -> str:
    """Configurations down; in each cell the values of all metrics."""
    heads = list(dict.fromkeys(head for found in columns.values() for head in found))
    heads = sorted(heads, key=lambda head: -1.0 if head == "dense" else float(head.split()[0]))
    rows = []
    for name in sorted(frame["configuration"].unique()):
        cells = {head: " / ".join(_of(found.get(head), name, form) for found in columns.values()) for head in heads}
        rows.append({"": name, **cells})
    table = pd.DataFrame(rows)
    return as_markdown(table, caption)


def _of(values: pd.Series | None, configuration: str, form: str) -> str:
    if values is None or configuration not in values.index.unique("configuration"):
        return "-"
    return spread(values.xs(configuration, level="configuration"), form)


def as_markdown(table: pd.DataFrame, caption: str = "") -> str:
    """A table of texts, with its caption above."""
    return to_markdown(Table("", caption, table, ("{}",) * table.shape[1])).lstrip()


def spread(values: pd.Series, form: str) -> str:
    """Mean ± sd; of one value itself, of none a dash."""
    found = values.tolist()
    if not found:
        return "-"
    mean = form.format(statistics.fmean(found))
    return mean if len(found) == 1 else f"{mean} ± {form.format(statistics.stdev(found))}"


def _typed(record: Record) -> Iterator[tuple[str, str]]:
    """What was typed for a run, without the places of one machine."""
    for key, value in _as_typed(record).items():
        place = PLACES.get(key, "").format(name=record.dataset["name"], file=Path(value).name)
        own = key == "model.weights" and OWN_START in value  # says more than where it lies
        yield key, place if place and not own else value


def _as_typed(record: Record) -> dict[str, str]:
    """What was typed for a run, before Hydra's escapes, without where things are left."""
    words = (override.partition("=") for override in record.overrides if not override.startswith(LEFT_OUT))
    return {key: value.replace("\\{", "{").replace("\\}", "}") for key, _, value in words}


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return 0.0, text
