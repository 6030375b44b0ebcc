"""What a reader must know before believing a report: what is missing in it, and what in it does not compare."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import pandas as pd

from hydra_det.records.record import Attack, Latency, Record, nms_confidence
from hydra_det.records.robustness import Robustness
from hydra_det.records.table import achieved_sparsity
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.comparisons import control
from hydra_det.reports.statistics.pairs import choose_pairs
from hydra_det.reports.statistics.significance import detectable_effect

FEW = 5  # runs a cell, below which only differences of more than two standard deviations are found
BUSY = 1.0  # processes ready to run, per core: above, a timing waited for others
OFF = 0.02  # between the sparsity asked for and the one reached
FAILURES = 20  # names of runs that failed in one text
SHOWN = 4  # names in one text; the rest is counted

Key = TypeVar("Key")


class Caution(NamedTuple):
    """One thing to know."""

    kind: str  # unreadable, failed, runs, data, attack, software, control, pairs, time, sparsity or robustness
    text: str  # what it is, which runs or cells, and what to do


def cautions_of(
    records: Mapping[str, Record],
    problems: Mapping[str, str],
    frame: pd.DataFrame,
    comparisons: pd.DataFrame,
    *,
    failures: Mapping[str, str] | None = None,
    suites: Iterable[tuple[str, Robustness]] = (),
) -> list[Caution]:
    """All of them, what is missing first.

    Args:
        records: by folder of the run.
        problems: why a record could not be read, by folder.
        frame: `records_frame` of the records.
        comparisons: `compare` of both.
        failures: the text of `failed.txt`, by folder.
        suites: the folder of a run and what a suite of attacks found on it.
    """
    found = [
        ("unreadable", _unreadable(problems)),
        ("failed", _failed(failures or {}, records)),
        ("runs", _runs(frame)),
        ("data", _data(records)),
        ("attack", _attack(records)),
        ("software", _software(records)),
        ("control", _control(comparisons)),
        ("pairs", _pairs(frame)),
        ("time", _time(records)),
        ("sparsity", _sparsity(records)),
        ("robustness", _robustness(suites, records)),
    ]
    return [Caution(kind, text) for kind, texts in found for text in texts]


def _unreadable(problems: Mapping[str, str]) -> Iterator[str]:
    for folder, problem in problems.items():
        yield f"{folder} is left out: {problem}"


def _failed(failures: Mapping[str, str], records: Mapping[str, Record]) -> Iterator[str]:
    reasons = {folder: " ".join(reason.split()) or "no reason was written" for folder, reason in failures.items()}
    for text, folders in _group((f for f in reasons if f not in records), reasons.__getitem__).items():
        yield f"failed and not in the numbers: {_names(folders, FAILURES)}; {text}; repair that and run again"
    for folder in (f for f in reasons if f in records):
        yield (
            f"{folder}: the last command in it failed ({reasons[folder]}), its numbers are of an earlier one; run it "
            "again"
        )


def _runs(frame: pd.DataFrame) -> Iterator[str]:
    """What makes a cell weak, or two cells unlike each other."""
    if frame.empty:
        yield "there is no run to report; give the folder of a finished run or sweep"
        return
    named = [_cell(*cell) for cell in zip(frame["configuration"], frame["ratio"], strict=True)]
    frame = frame.assign(cell=named)
    seeds = {str(cell): set(runs["seed"]) for cell, runs in frame.groupby("cell", sort=False)}
    sizes = _group(seeds, lambda cell: len(seeds[cell]))
    if cells := sizes.get(1):
        yield f"one run only in {_names(cells)}: no spread and no test; run more seeds"
    for size in sorted(size for size in sizes if 1 < size < FEW):
        effect = detectable_effect(size)
        yield (
            f"{size} runs in {_names(sizes[size])}: a test finds a difference of {effect:.1f} standard deviations in "
            f"four of five cases, and smaller ones less often; no difference found does not mean that there is none"
        )
    every = set().union(*seeds.values())
    for missing, cells in _group(seeds, lambda cell: tuple(sorted(every - seeds[cell]))).items():
        if missing:
            yield (
                f"seed {_names(missing)} is not in {_names(cells)}, but in others: means are over unlike runs, and "
                "if a run failed over those that did not; run it"
            )
    ratios = {str(name): set(runs["ratio"]) for name, runs in frame.groupby("configuration")}
    every = set().union(*ratios.values())
    for missing, names in _group(ratios, lambda name: tuple(sorted(every - ratios[name]))).items():
        if missing:
            yield f"no run at ratio {_names(missing)} in {_names(names)}, but in others; run it"
    for key, runs in frame.groupby(["cell", "seed"], sort=False):
        if len(runs) > 1:
            yield (
                f"seed {key[1]} of {key[0]} was run {len(runs)} times ({_names(runs['folder'])}) and counts once, by "
                "the mean; delete all but one"
            )


def _data(records: Mapping[str, Record]) -> Iterator[str]:
    by_images = _group(records, lambda folder: records[folder].dataset["fingerprint"])
    if len(by_images) > 1:
        groups = []
        for folders in by_images.values():
            data = records[folders[0]].dataset
            groups.append(f"{data['name']}, {data['train']} to train and {data['test']} to test: {_names(folders)}")
        yield f"not all runs saw the same images ({'; '.join(groups)}): report them apart"
    if empty := [folder for folder, record in records.items() if not record.dataset["test"]]:
        yield f"no test images in {_names(empty)}: there is no AP"


def _attack(records: Mapping[str, Record]) -> Iterator[str]:
    clean = [folder for folder, record in records.items() if record.metrics["pruned"]["attacked"] is None]
    if clean:
        yield f"not attacked: {_names(clean)}; evaluate.py or a run with attack=pgd says how robust they are"
    attacked = {folder: record for folder, record in records.items() if folder not in clean}
    threats = _group(attacked, lambda folder: _threat(attacked[folder].attack))
    if len(threats) > 1:
        yield f"not the same attack in all runs: {_listed(threats)}; AP attacked does not compare between them"
    if corrupted := [folder for folder, record in attacked.items() if record.attack.get("kind")]:
        yield f"corrupted, not attacked: {_names(corrupted)}; that says nothing of robustness against an attacker"


def _software(records: Mapping[str, Record]) -> Iterator[str]:
    commits = _group(records, lambda folder: (records[folder].commit or "unknown")[:8])
    if len(commits) > 1:
        yield f"not the same commit in all runs: {_listed(commits)}; run them again with one"
    if dirty := [folder for folder, record in records.items() if str(record.commit).endswith("-dirty")]:
        yield f"the code was changed and not committed in {_names(dirty)}: nobody can run them again; commit first"
    for package in sorted({package for record in records.values() for package in record.versions}):
        versions = _group(records, lambda folder, package=package: records[folder].versions.get(package) or "none")  # type: ignore[misc]
        if len(versions) > 1:
            yield f"not the same version of {package} in all runs: {_listed(versions)}"


def _control(comparisons: pd.DataFrame) -> Iterator[str]:
    if comparisons.empty:
        return
    for finding in control(comparisons):
        metric = METRICS[finding.metric]
        by = f"{finding.difference:+.3g} {metric.unit}".strip()
        yield (
            f"{finding.comparison} differ in {metric.label} by {by} (adjusted p {finding.p_holm:.2e}) at ratio 0, "
            "where nothing is pruned: something else than pruning differs between the runs; find it before any other "
            "number of this metric is believed"
        )
    controls = comparisons[comparisons["control"].astype(bool)]
    if controls.empty:
        yield (
            "no control: no two configurations that differ in scores and masks only have runs at ratio 0, where they "
            "must not differ; run prune.ratio=0 of such"
        )
        return
    # No difference at all is no test, and the best there can be.
    untested = controls[controls["p"].isna() & (controls["difference"] != 0)]
    for name, rows in untested.groupby("metric"):
        pairs = _names(sorted(rows["comparison"]))
        yield f"the control at ratio 0 was not tested for {METRICS[str(name)].label} ({pairs}): {rows['note'].iloc[0]}"


def _pairs(frame: pd.DataFrame) -> Iterator[str]:
    if left_out := choose_pairs(frame).left_out:
        names = _names(f"{first} vs. {second}" for first, second in left_out)
        yield f"too many configurations for all pairs, so not compared: {names}; report fewer of them at once"


def _time(records: Mapping[str, Record]) -> Iterator[str]:
    if missing := [folder for folder, record in records.items() if not record.latency]:
        yield f"no times in {_names(missing)}"
    timed = {folder: record.latency for folder, record in records.items() if record.latency}
    if masked := [folder for folder, latency in timed.items() if "compact" not in latency]:
        yield f"the compact network was not timed in {_names(masked)}: masks alone make no network faster"
    places = _group(timed, lambda folder: _place(next(iter(timed[folder].values()))))
    if len(places) > 1:
        yield f"times from different places: {_listed(places)}; compare speed-ups within a run only"
    if waited := timed_beside_others(records):
        yield (
            f"the machine was busy when times were taken in {_names(waited)} (over {BUSY:g} processes a core): they "
            "are too long and vary; take them again on an idle one"
        )


def timed_beside_others(records: Mapping[str, Record]) -> list[str]:
    """The runs whose times were taken on a busy machine."""
    loads = {folder: [one["load"] or 0 for one in record.latency.values()] for folder, record in records.items()}
    return [folder for folder, found in loads.items() if max(found, default=0) > BUSY]


def _sparsity(records: Mapping[str, Record]) -> Iterator[str]:
    for folder, record in records.items():
        asked, reached = record.sparsity["ratio_asked"], achieved_sparsity(record)
        if record.sparsity["budget"] == "parameters" and abs(asked - reached) > OFF:
            yield f"{folder}: sparsity {asked:g} was asked for and {reached:.3f} reached; tables name it by the first"


def _robustness(suites: Iterable[tuple[str, Robustness]], records: Mapping[str, Record]) -> Iterator[str]:
    for folder, found in suites:
        for alarm in found["alarms"]:
            if alarm["raised"]:
                figure = "none" if alarm["figure"] is None else f"{alarm['figure']:+.3g}"
                yield (
                    f"{folder}, {found['network']} network, suite {found['suite']}: {alarm['name']} is {figure} "
                    f"{alarm['meaning']}, limit {alarm['limit']:.3g}; explain that before its robust AP is believed"
                )
        if folder not in records:
            yield f"{folder}: a suite of attacks on a run that has no readable record"


def _threat(attack: Attack) -> str:
    """Everything that makes two attacks differ; what is not set is left out."""
    words = [f"{key} {value}" for key, value in sorted(attack.items()) if key != "name" and value not in (None, False)]
    return ", ".join([attack["name"], *words])


def _place(latency: Latency) -> str:
    height, width = latency["image_size"]
    return (
        f"{latency['device']} {latency['device_name']}, {latency['threads']} threads, {width} x {height} px, batch "
        f"{latency['batch_size']}, {latency['dtype']}, NMS from confidence {nms_confidence(latency):g} on"
    )


def _cell(configuration: str, ratio: float) -> str:
    return f"{configuration} at {ratio:g}"


def _group(names: Iterable[str], key: Callable[[str], Key]) -> dict[Key, list[str]]:
    groups: dict[Key, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return dict(groups)


def _listed(groups: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{key} in {_names(names)}" for key, names in groups.items())


def _names(names: Iterable[object], shown: int = SHOWN) -> str:
    """The first ones, and how many there are besides."""
    every = [f"{name:g}" if isinstance(name, float) else str(name) for name in names]
    rest = len(every) - shown
    return " · ".join(every[:shown]) + (f" and {rest} more" if rest > 0 else "")
