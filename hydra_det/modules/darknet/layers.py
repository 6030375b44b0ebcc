"""The layers of Darknet that are supported, read from their sections: what the text says, with Darknet's own defaults.

Options that only training in Darknet looks at are known and ignored; one that nobody here knows is refused, since a
network that does something else without saying so finds nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hydra_det.modules.darknet.cfg import NET, Section
from hydra_det.types import InputError

ACTIVATIONS = ("linear", "leaky", "relu", "mish", "swish", "logistic")
COLOURS = 3


class Net(NamedTuple):
    """`[net]`: the image that the network was made for."""

    width: int
    height: int
    letterbox: bool | None  # images keep their aspect ratio; None: the file does not say


class Convolutional(NamedTuple):
    """A convolution, BatchNorm where it has one, and an activation."""

    section: Section
    filters: int
    size: int
    stride: int
    padding: int
    groups: int
    normalised: bool
    activation: str


class Shortcut(NamedTuple):
    """The sum of the layer before and another one."""

    section: Section
    source: int  # number of a layer
    activation: str


class Route(NamedTuple):
    """Layers behind each other, of each one of `groups` equal parts."""

    section: Section
    sources: list[int]  # numbers of layers
    groups: int
    group: int


class MaxPool(NamedTuple):
    """The largest value of every window."""

    section: Section
    size: int
    stride: int
    padding: int  # both sides together, the smaller half on the left and above


class Upsample(NamedTuple):
    """Every value `stride` x `stride` times."""

    section: Section
    stride: int


class Dropout(NamedTuple):
    """Nothing: in inference it hands on what came."""

    section: Section


class Yolo(NamedTuple):
    """What a raw map means."""

    section: Section
    anchors: list[list[float]]  # of its mask
    classes: int
    scale: float  # how far centres reach, see `decode_boxes`
    letterbox: bool | None


Layer = Convolutional | Shortcut | Route | MaxPool | Upsample | Dropout | Yolo

# What Darknet's training alone looks at; the suppression of `nms_kind` is this package's own.
TRAINING = ("stopbackward", "learning_rate", "onlyforward", "train_only_bn")
NET_IGNORED = (
    "B1", "B2", "adam", "adversarial_lr", "angle", "aspect", "attention", "augment_speed", "batch",
    "batches_cycle_mult", "batches_per_cycle", "blur", "burn_in", "cutmix", "decay", "dynamic_minibatch",
    "ema_alpha", "eps", "exposure", "flip", "gamma", "gaussian_noise", "hue", "inputs", "label_smooth_eps",
    "learning_rate", "learning_rate_min", "loss_scale", "max_batches", "max_chart_loss", "max_crop", "min_crop",
    "mixup", "momentum", "mosaic", "mosaic_bound", "optimized_memory", "policy", "power", "random", "resize_step",
    "saturation", "scales", "seed", "seq_scales", "sequential_subdivisions", "show_receptive_field", "step",
    "steps", "subdivisions", "time_steps", "track", "try_fix_nan", "use_cuda_graph", "workspace_size_limit_MB",
)  # fmt: skip
YOLO_IGNORED = (
    "beta_nms", "cls_normalizer", "counters_per_class", "delta_normalizer", "focal_loss", "ignore_thresh",
    "iou_loss", "iou_normalizer", "iou_thresh", "iou_thresh_kind", "jitter", "label_smooth_eps", "map", "max",
    "max_delta", "nms_kind", "nms_threshold", "obj_normalizer", "objectness_smooth", "random", "rescore", "resize",
    "show_details", "thresh", "truth_thresh",
)  # fmt: skip
DROPOUT_IGNORED = ("probability", "dropblock", "dropblock_size_abs", "dropblock_size_rel")
IGNORED = {"net": NET_IGNORED, "network": NET_IGNORED, "yolo": YOLO_IGNORED, "dropout": DROPOUT_IGNORED}


def essential(sections: Sequence[Section]) -> str:
    """The text of a file without comments and without what is ignored: equal for networks that compute the same."""
    lines = []
    for section in sections:
        lines.append(f"[{section.name}]")
        ignored = IGNORED.get(section.name, TRAINING)
        lines += [f"{key}={option.text}" for key, option in section.options.items() if key not in ignored]
    return "\n".join(lines) + "\n"


def read_net(section: Section) -> Net:
    """`[net]`."""
    used = ("width", "height", "channels", "letter_box")
    section.check_options(used, NET_IGNORED, {"channels": str(COLOURS)})
    return Net(section.whole("width", 416), section.whole("height", 416), _letterbox(section))


def read_layer(section: Section) -> Layer:
    """Any other section.

    Raises:
        InputError: a kind of layer, or an option, that is not known.
    """
    if section.name in NET:
        raise InputError(
            f"{section.file}: line {section.line}: expected [net] once, got it again; are two files in one?"
        )
    if section.name not in READERS:
        known = ", ".join(name for name in READERS if name not in ALIASES)
        raise InputError(
            f"{section.file}: line {section.line}: expected a layer that is supported ({known}), got [{section.name}]"
        )
    return READERS[section.name](section)


def _convolutional(section: Section) -> Convolutional:
    used = ("batch_normalize", "filters", "size", "stride", "pad", "padding", "groups", "activation")
    # What Darknet can do besides; the last two leave numbers of the file unread.
    fixed = {"dilation": "1", "antialiasing": "0", "binary": "0", "xnor": "0", "flipped": "0", "deform": "0",
             "dontload": "0", "dontloadscales": "0"}  # fmt: skip
    section.check_options(used, TRAINING, fixed)
    size = section.whole("size", 1)
    return Convolutional(
        section,
        filters=section.whole("filters", 1),
        size=size,
        stride=section.whole("stride", 1),
        padding=size // 2 if section.whole("pad", 0, least=0) else section.whole("padding", 0, least=0),
        groups=section.whole("groups", 1),
        normalised=bool(section.whole("batch_normalize", 0, least=0)),
        activation=section.word("activation", "logistic", ACTIVATIONS),
    )


def _shortcut(section: Section) -> Shortcut:
    section.check_options(("from", "activation"), TRAINING, {"weights_type": "none"})
    sources = _sources(section, "from")
    if len(sources) != 1:
        raise section.refuse("one layer", section.options["from"].text, key="from")
    return Shortcut(section, sources[0], section.word("activation", "linear", ACTIVATIONS))


def _route(section: Section) -> Route:
    section.check_options(("layers", "groups", "group_id"), TRAINING, {})
    groups, group = section.whole("groups", 1), section.whole("group_id", 0, least=0)
    if group >= groups:
        raise section.refuse(f"one of the {groups} groups, counted from 0,", group, key="group_id")
    return Route(section, _sources(section, "layers"), groups, group)


def _maxpool(section: Section) -> MaxPool:
    section.check_options(("size", "stride", "padding"), TRAINING, {"maxpool_depth": "0", "antialiasing": "0"})
    stride = section.whole("stride", 1)
    size = section.whole("size", stride)
    padding = section.whole("padding", size - 1, least=0)
    if padding // 2 >= size or padding - padding // 2 >= size:
        raise section.refuse(f"less than the {size} of its size on every side", padding, key="padding")
    return MaxPool(section, size, stride, padding)


def _upsample(section: Section) -> Upsample:
    section.check_options(("stride",), TRAINING, {"scale": "1", "reverse": "0"})
    return Upsample(section, section.whole("stride", 2))


def _dropout(section: Section) -> Dropout:
    section.check_options((), (*DROPOUT_IGNORED, *TRAINING), {})
    return Dropout(section)


def _yolo(section: Section) -> Yolo:
    used = ("mask", "anchors", "classes", "num", "scale_x_y", "letter_box")
    section.check_options(used, (*YOLO_IGNORED, *TRAINING), {"new_coords": "0"})
    count = section.whole("num", 1)
    sides = section.numbers("anchors")
    if len(sides) != 2 * count:
        raise section.refuse(
            f"{2 * count} numbers, a width and a height for each of num={count},", len(sides), key="anchors"
        )
    mask = section.wholes("mask") or list(range(count))
    if not all(0 <= number < count for number in mask):
        raise section.refuse(
            f"numbers of its {count} anchors, counted from 0,", section.options["mask"].text, key="mask"
        )
    return Yolo(
        section,
        anchors=[sides[2 * number : 2 * number + 2] for number in mask],
        classes=section.whole("classes", 20),
        scale=section.size("scale_x_y", 1.0),
        letterbox=_letterbox(section),
    )


def _sources(section: Section, key: str) -> list[int]:
    """The layers that an option names, counted from the first one, or back from this one where below 0."""
    found = section.wholes(key)
    if not found:
        raise section.refuse("a layer", "none", key=key)
    absolute = [number if number >= 0 else section.number + number for number in found]
    for asked, number in zip(found, absolute, strict=True):
        if not 0 <= number < section.number:
            raise section.refuse(
                f"layers before it, 0 to {section.number - 1} or -1 to -{section.number},"
                if section.number
                else "a layer before it, of which the first layer has none,",
                asked,
                key=key,
            )
    return absolute


def _letterbox(section: Section) -> bool | None:
    return bool(section.whole("letter_box", 0, least=0)) if "letter_box" in section.options else None


ALIASES = ("conv", "max")
READERS: dict[str, Callable[[Section], Layer]] = {
    "convolutional": _convolutional,
    "conv": _convolutional,
    "shortcut": _shortcut,
    "route": _route,
    "maxpool": _maxpool,
    "max": _maxpool,
    "upsample": _upsample,
    "dropout": _dropout,
    "yolo": _yolo,
}
