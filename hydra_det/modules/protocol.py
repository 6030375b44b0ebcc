"""What a network must do to be trained, attacked, pruned and scored here, and the function that checks it.

Three verbs are enough: for training, attacks, masks of weights and kernels, and AP. What more a network can do opens
more, and is asked for by name where it is missing:

    decode(raw) -> Candidates                  attacks on AP
    suppress, count_candidates                 with decode: time by parts, as in `YoloDetector`
    evidence(raw, targets) -> [B]              init.target=assigned
    objectness(raw) -> [B, N]                  init.target=topk
    margins(raw, targets) -> [B]               the objective `margins`
    disagreement(raw, other) -> LossTerms      hardening=consistent
    applied_beside() -> {layer: times}         FLOPs of layers that forward does not run
    load_backbone(path)                        model.backbone_weights
    settled(settings, train_boxes=)            of the class: its config with what it takes from weights and data
    check_earlier(settings, path, read)        of the class: refuses weights of a run with other settings
"""

import copy
from typing import Any, Protocol

import torch
from torch import Tensor

from hydra_det.boxes import Letterbox
from hydra_det.modules.raw_maps import detached, shapes, tensors_of
from hydra_det.types import Candidates, Detections, InputError, LossTerms, Target

VERBS = ("losses", "detections")
MANY = 20  # objects of the fullest image that a network is tried on
SAME = 1e-3  # of a loss: so much the other images of a batch may change by rounding


class DetectorNetwork(Protocol):
    """What a network must do to be trained here; an `nn.Module`.

    Attributes:
        num_classes: C.
    """

    num_classes: int

    def __call__(self, images: Tensor) -> Any:
        """Images [B, 3, H, W] in [0, 1] -> raw maps; the same in train and eval mode.

        Raw maps are a tensor [B, ...], or lists, tuples and dictionaries of such, nested as the network likes. All that
        `losses` and `detections` need of the images is in them. Normalisation is the network's part.
        """
        ...

    def losses(self, raw: Any, targets: list[Target]) -> LossTerms:
        """Raw maps of B images and what is in them -> terms by name, each [B]: a value for every image."""
        ...

    def detections(self, raw: Any) -> list[Detections]:
        """Raw maps of B images -> B answers, boxes in pixels of the images, the most certain first."""
        ...


def check_detector(net: Any, *, num_classes: int, image_size: int) -> list[str]:
    """Try every verb of a copy of a network, in eval and in train mode, on two images with and without objects.

    Args:
        net: an `nn.Module`.
        num_classes: of the data.
        image_size: side of the images in pixels.

    Returns:
        The names of its loss terms.

    Raises:
        InputError: what was expected of which verb, and what came.
    """
    if missing := [verb for verb in VERBS if not callable(getattr(net, verb, None))]:
        raise InputError(f"{_name(net)}: expected the methods {' and '.join(VERBS)}, got no {missing[0]}")
    if (count := getattr(net, "num_classes", None)) != num_classes:
        raise InputError(f"{_name(net)}.num_classes: expected {num_classes}, as many as the data has, got {count}")
    net = copy.deepcopy(net).eval()
    images = _images(next(net.parameters()), image_size)
    targets = tried_targets(images, counts=(1, 0), classes=num_classes)
    pixels = images.clone().requires_grad_()
    with torch.enable_grad():
        raw = _checked_raw(net, net(pixels), len(images))
        terms = _checked_terms(net, net.losses(raw, targets), len(images))
        slope = _slope(terms.total.sum(), pixels)
    if slope is None or not slope.any():
        raise InputError(f"{_name(net)}.losses: expected a gradient to the images, got none; no attack could begin")
    with torch.no_grad():
        _check_apart(net, images)
        _check_detections(net, net.detections(detached(raw)), len(images))
        if callable(getattr(net, "decode", None)):
            _check_candidates(net, net.decode(detached(raw)), len(images))
        trained = net.train()(images)
        if shapes(trained) != shapes(raw):
            raise InputError(
                f"{_name(net)}.forward: expected the same raw maps in train mode as in eval mode, got {_make(trained)} "
                f"for {_make(raw)}"
            )
        _checked_terms(net, net.losses(trained, targets), len(images))
    return list(terms)


def _check_apart(net: Any, images: Tensor) -> None:
    """Refuse losses that are not of each image alone, as where they are divided by the objects of the whole batch."""
    for counts in ((1, 0), (1, MANY)):
        targets = tried_targets(images, counts=counts, classes=net.num_classes)
        together = net.losses(net(images), targets).total
        alone = net.losses(net(images[:1]), targets[:1]).total
        if not torch.allclose(alone, together[:1], rtol=SAME, atol=SAME):
            raise InputError(
                f"{_name(net)}.losses: expected the loss of an image whatever the others of its batch are, got "
                f"{alone.item():.4g} alone and {together[0].item():.4g} beside one with {counts[1]} objects"
            )


def _images(parameter: Tensor, size: int) -> Tensor:
    """Two images of noise, of the device and type of a parameter."""
    drawn = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return drawn.to(parameter.device, parameter.dtype)


def tried_targets(images: Tensor, *, counts: tuple[int, ...], classes: int) -> list[Target]:
    """So many objects in every image: one of the last class in its middle, one in a corner, then smaller ones."""
    size = images.shape[-1]
    quarter, half = size / 4, size / 2
    boxes = [[quarter, quarter, 3 * quarter, 3 * quarter], [0, 0, half, half]]
    boxes += [[place * half / MANY, 0, half + place * half / MANY, quarter] for place in range(MANY - len(boxes))]
    all_boxes = torch.tensor(boxes, device=images.device)
    labels = torch.arange(classes - 1, classes - 1 - MANY, -1, device=images.device) % classes
    letterbox = Letterbox(size=size, height=size, width=size)
    return [
        Target(boxes=all_boxes[:count], labels=labels[:count], image_id=number, letterbox=letterbox)
        for number, count in enumerate(counts)
    ]


def _checked_raw(net: Any, raw: Any, batch: int) -> Any:
    tensors = tensors_of(raw)
    if not tensors:
        raise InputError(
            f"{_name(net)}.forward: expected raw maps: a tensor, or lists, tuples and dictionaries of them, got "
            f"{_shown(raw)}"
        )
    if odd := [maps.dtype for maps in tensors if not maps.is_floating_point()]:
        raise InputError(f"{_name(net)}.forward: expected raw maps of floats, got {odd[0]}")
    if wrong := [list(maps.shape) for maps in tensors if not maps.ndim or len(maps) != batch]:
        raise InputError(f"{_name(net)}.forward: expected tensors [{batch}, ...] for {batch} images, got {wrong[0]}")
    return raw


def _checked_terms(net: Any, terms: Any, batch: int) -> LossTerms:
    if not isinstance(terms, LossTerms) or not terms:
        raise InputError(f"{_name(net)}.losses: expected LossTerms(box=..., classification=...), got {_shown(terms)}")
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.shape != (batch,):
            raise InputError(
                f"{_name(net)}.losses: expected a value per image [{batch}] for {name}, got {_shown(value)}"
            )
        if not value.isfinite().all():
            raise InputError(f"{_name(net)}.losses: expected finite values for {name}, got {value.tolist()}")
    return terms


def _check_detections(net: Any, found: Any, batch: int) -> None:
    if not isinstance(found, list | tuple) or len(found) != batch:
        raise InputError(f"{_name(net)}.detections: expected a list of {batch} Detections, got {_shown(found)}")
    for one in found:
        if not isinstance(one, Detections):
            raise InputError(
                f"{_name(net)}.detections: expected Detections(boxes, confidences, labels), got {_shown(one)}"
            )
        count = len(one.confidences)
        shapes = (tuple(one.boxes.shape), tuple(one.confidences.shape), tuple(one.labels.shape))
        if shapes != ((count, 4), (count,), (count,)):
            raise InputError(f"{_name(net)}.detections: expected shapes [K, 4], [K] and [K], got {shapes}")
        if count and (one.confidences.diff() > 0).any():
            raise InputError(f"{_name(net)}.detections: expected the most certain first, got another order")
        if one.labels.dtype != torch.int64:
            raise InputError(f"{_name(net)}.detections: expected labels of int64, got {one.labels.dtype}")
        if count and not ((one.confidences >= 0) & (one.confidences <= 1)).all():
            raise InputError(
                f"{_name(net)}.detections: expected confidences from 0 to 1, got {one.confidences.min().item():.4g} to "
                f"{one.confidences.max().item():.4g}"
            )
        if count and not ((one.labels >= 0) & (one.labels < net.num_classes)).all():
            raise InputError(f"{_name(net)}.detections: expected labels from 0 to {net.num_classes - 1}, got others")


def _check_candidates(net: Any, found: Any, batch: int) -> None:
    if not isinstance(found, Candidates):
        raise InputError(f"{_name(net)}.decode: expected Candidates(boxes, confidences), got {_shown(found)}")
    count = found.boxes.shape[1] if found.boxes.ndim == 3 else 0
    shapes = (tuple(found.boxes.shape), tuple(found.confidences.shape))
    if shapes != ((batch, count, 4), (batch, count, net.num_classes)):
        raise InputError(
            f"{_name(net)}.decode: expected shapes [{batch}, N, 4] and [{batch}, N, {net.num_classes}], got {shapes}"
        )


def _slope(value: Tensor, pixels: Tensor) -> Tensor | None:
    """The gradient to the images; None where the value does not depend on them."""
    return torch.autograd.grad(value, pixels, allow_unused=True)[0] if value.requires_grad else None


def _name(net: Any) -> str:
    return type(net).__name__


def _make(raw: Any) -> str:
    return f"{_shown(raw)} with tensors {[list(maps.shape) for maps in tensors_of(raw)]}"


def _shown(value: Any) -> str:
    """A value in an error, short."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)}" if value.ndim else "a scalar"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
