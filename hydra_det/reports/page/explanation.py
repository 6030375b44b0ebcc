"""How the numbers of a report were made, in words."""

from collections.abc import Mapping

from hydra_det.records.record import Record, nms_confidence
from hydra_det.reports.statistics.gains import from_confidence
from hydra_det.reports.statistics.significance import LEVEL, POWER, detectable_effect
from hydra_det.reports.tables.terminal import threat_in_words


def explanation(records: Mapping[str, Record]) -> list[tuple[str, str]]:
    """Protocols, attack, time, statistics: a title and a paragraph each, with the settings that the records hold."""
    parts = [("Accuracy", _accuracy()), ("Attack", _attack(records)), ("Time and size", _time(records))]
    return [*parts, ("Statistics", _statistics(records))] if len(records) > 1 else parts


def _accuracy() -> str:
    return (
        "AP is COCO's: the mean over classes and over thresholds of overlap from 0.50 to 0.95, computed by pycocotools "
        "on boxes in coordinates of the original images. Unless a column says otherwise, all detections with a "
        "confidence of 0.001 or more count. AP50 takes the threshold of 0.50 alone. A row with confidence 0.5 cuts "
        "where the paper did; that lowers AP, because what a detector finds with less confidence no longer counts. "
        "All AP here are of the network with its masks, which answers as the compact one does."
    )


def _attack(records: Mapping[str, Record]) -> str:
    threats = dict.fromkeys(
        threat_in_words(record.attack)
        for record in records.values()
        if any(record.metrics[network]["attacked"] for network in ("dense", "pruned"))
    )
    if not threats:
        return "No run was attacked."
    return (
        f"{' '.join(threats)} The attacker knows the network with its weights and its masks, and every network is "
        "attacked anew. The robust AP is at most the AP under an attack: a stronger one may find less."
    )


def _time(records: Mapping[str, Record]) -> str:
    repeats = sorted({latency["repeats"] for record in records.values() for latency in record.latency.values()})
    if not repeats:
        return "No run was timed."
    floors = from_confidence(nms_confidence(one) for record in records.values() for one in record.latency.values())
    return (
        f"Median of {' or '.join(map(str, repeats))} repeats of one image: forward, decoding, and suppression of "
        f"double boxes (NMS). {floors} The networks of a run take turns, so that their ratio, the speed-up, compares "
        "between runs; milliseconds depend on the machine and on what else it did. A masked network multiplies its "
        "zeros and is as slow as the dense one. The compact network is what is left when every channel is removed that "
        "the masks leave without use; it answers the same."
    )


def _statistics(records: Mapping[str, Record]) -> str:
    runs = sorted({record.seed for record in records.values()})
    effect = detectable_effect(len(runs))
    power = (
        f"With {len(runs)} seeds a cell, a test finds differences of {effect:.2f} standard deviations with a chance of "
        f"{100 * POWER:g} %; that none was found does not mean that there is none. "
        if len(runs) > 1
        else "With one seed there is no spread and no test. "
    )
    return (
        "A cell is a configuration at a ratio, its values those of its seeds; sd divides by n - 1. Runs of one seed "
        "share the order of the data and, where the configurations allow, the pretrained network, so cells with the "
        "same seeds are compared in pairs, others by Welch's test, which lets the variances differ. One-way ANOVA, the "
        "paper's test, stands beside them. p-values are adjusted for all comparisons and ratios of a metric (Holm); "
        f"below {LEVEL:g} a difference is called one. It is a hint where so few seeds differ that no exact test could "
        "have such a p, even for a single comparison (of five pairs 2 / 2^5 = 0.0625), or where it was decided on "
        "after looking at results. Where "
        "nothing is pruned, methods that differ in pruning only must not differ: that control is a family of its own. "
        f"Intervals over test images resample the images, all runs as they are (bootstrap). {power}"
    )
