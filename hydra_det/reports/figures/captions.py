"""What every figure shows and how to read it, and in which section of the page it stands."""

from collections.abc import Iterable

_PAPER = "The paper's own numbers, mean ± sd of its runs, on an axis of their own. They do not compare with ours: "
# By the name of a figure, or, of `_KINDS`, by its first part.
CAPTIONS = {
    "headline": "COCO AP of the pruned networks, on test images as they are and under attack, on one scale. Thin "
    "lines: the standard deviation of the seeds. Dashed, or grey: the dense networks, the median over configurations.",
    "headline_of_one": "COCO AP of the dense and the pruned network, on test images as they are and under attack, on "
    "one scale.",
    "ap_attacked": "COCO AP of attacked test images over the pruning ratio. Every network is attacked anew, with its "
    "own gradients. The robust AP is at most this: a stronger attack may find less. A small mark is a run; a large one "
    "is the mean of the seeds, with their standard deviation. Marks stand a little apart so that none hides another. "
    "The paper's figures 4a and 5a show a measure of its own.",
    "ap_clean": "The same for the images as they are.",
    "ap_attacked_high": "The part of AP under attack where most is removed, as in the paper's figure 7.",
    "paper_map": _PAPER + 'its "mAP" under attack lies above what the same network reaches on clean images by COCO\'s '
    "AP, so it is another measure. Compare shapes only.",
    "speed_up_forward": "How many times as fast the forward pass of the compact network is as that of the dense one. "
    "This is what the removal of channels brings by itself. Dotted: no gain.",
    "speed_up": "How many times as fast the compact network is as the dense one. Both are timed in turn in the same "
    "run, so you can compare this between runs. A compact network is what is left when everything is removed that the "
    "masks leave without use. Dotted: no gain.",
    "paper_speed_up": _PAPER + "they are of another machine and of masked networks, relative to ratio 0.",
    "time_compact": "Time for one image of the compact network: forward pass, decoding and suppression of double "
    "boxes. Runs that were timed on a busy machine are slower; trust the speed-up more.",
    "time_masked": "Time for one image of the masked network. Zeros are multiplied like any other number, so expect a "
    "flat line.",
    "paper_time": _PAPER + "they are of another machine.",
    "size": "Size of the weights of the compact network, float32. Dotted: the dense network.",
    "trade_size": "AP against size: towards the upper left is better. A line is a configuration, a point the mean of a "
    "ratio. The smallest and the largest ratio are named.",
    "trade_time": "The same for the time of the compact network.",
    "learning": "A line is a stage that was trained; runs that share a stage share its line. A stage of one or two "
    "epochs is drawn as points. Full: loss, or AP on clean images. Dashed and hollow: AP under attack.",
    "kept": "The share of the weights of every layer that the masks keep, from the image down to the outputs; the mean "
    'over seeds. "1 x 1" marks layers in which a kernel is a single weight, so pruning kernels prunes weights there.',
    "compaction": "Left: the forward pass of the three networks in every engine, median and interquartile range. "
    "Right: how many times as fast as the dense network the compact one is. Dashed: how many times fewer operations it "
    "needs.",
    "difference": "How much two configurations differ at every ratio, with intervals of 95 %. Over seeds: if all "
    "were trained again. Over pairs: if two networks of the same seed were. Over test images: if other images were "
    "tested, with these networks. If an interval crosses the dotted line, the runs show no difference. Grey: a hint.",
}
_KINDS = ("difference", "learning", "kept")
SECTIONS = {
    "first": ("headline",),
    "accuracy": ("ap_attacked", "paper_map", "ap_clean", "ap_attacked_high"),
    "speed": ("speed_up_forward", "speed_up", "paper_speed_up", "time_masked", "paper_time", "time_compact", "size"),
    "trade": ("trade_size", "trade_time"),
    "differences": ("difference",),
    "learning": ("learning",),
    "layers": ("kept",),
    "compaction": ("compaction",),
}


def common_caption(section: str) -> str | None:
    """What is said once of a section whose figures are of one kind; None where every figure has its own caption."""
    first = SECTIONS[section][0]
    return CAPTIONS[first] if first in _KINDS else None


def in_section(names: Iterable[str], section: str) -> list[str]:
    """The figures of a section of the page, in their order there."""
    every = list(names)
    return [
        name
        for key in SECTIONS[section]
        for name in every
        if name == key or (key in _KINDS and name.startswith(f"{key}_"))
    ]
