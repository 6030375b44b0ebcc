"""A trained network used on pictures: boxes in their own pixels, clean and, if asked, under attack."""

import copy
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from hydra_det.attacks.base import Attack
from hydra_det.boxes import Letterbox
from hydra_det.callbacks.hardening.attacked_images import attacked_images
from hydra_det.data.datamodule import STRIDE
from hydra_det.data.formats.names import read_names
from hydra_det.data.images import as_pixels
from hydra_det.data.media.drawing import draw_detections
from hydra_det.data.transforms import letterbox_image, to_tensor
from hydra_det.finished.given import network_from_weights, settled_model
from hydra_det.finished.in_engine import TORCH, check_engine, in_another_engine
from hydra_det.finished.run import FinishedRun, load_run
from hydra_det.modules.detector import check_classes
from hydra_det.modules.masked_conv import make_dense
from hydra_det.modules.undisturbed import undisturbed
from hydra_det.pipeline import build
from hydra_det.pipeline.build import Config
from hydra_det.types import Batch, Detections, InputError, Pixels, Target, as_fraction

DEFAULT_SIZE = 416  # side of the network input where no run says it, pixels


class Found(NamedTuple):
    """An object in a picture."""

    name: str  # of its class
    confidence: float  # in [0, 1]
    box: tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture


class View(NamedTuple):
    """A picture as the network saw it, and what it found there."""

    pixels: Pixels
    detections: Detections  # boxes in pixels of the picture
    class_names: Sequence[str]  # by label

    @property
    def objects(self) -> list[Found]:
        """What was found, the most certain first."""
        rows = zip(*(tensor.tolist() for tensor in self.detections), strict=True)
        return [Found(self.class_names[label], confidence, tuple(box)) for box, confidence, label in rows]

    def drawn(self) -> Image.Image:
        """The picture with its boxes."""
        picture = Image.fromarray(self.pixels).copy()
        boxes, confidences, labels = (tensor.tolist() for tensor in self.detections)
        draw_detections(picture, boxes, labels, confidences, class_names=self.class_names)
        return picture


class Prediction(NamedTuple):
    """What a network finds in a picture."""

    clean: View
    attacked: View | None  # None: no attack was asked for
    seconds: float  # of forward, decoding and suppression of the clean picture


class Predictor:
    """A network with all that it takes to use it on pictures of any size.

    An attack needs something to attack: not knowing what is in a picture, it takes for true what the network itself
    finds there, and raises the detection loss against that. Where nothing is found, it makes up objects.

    Args:
        net: dense or masked; a copy of it is used.
        class_names: by label.
        image_size: side of the network input, pixels.
        greyscale: show the luminance only.
        confidence: boxes below are dropped.
        attack: None shows the clean picture only.
        device: of the network.
        seed: of attacks that draw.
        engine: that computes the raw maps, on the CPU, a key of `hydra_det.engines.registry.ENGINES`; attacks are made
            in torch. The network is made compact for another one than torch, which takes seconds.
        make: makes the network, with any weights; needed where its class is none of hydra_det's and the engine is of
            another runtime.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        class_names: Sequence[str],
        image_size: int,
        greyscale: bool = False,
        confidence: float = 0.3,
        attack: Attack | None = None,
        device: str | torch.device = "cpu",
        seed: int = 0,
        engine: str = TORCH,
        make: Callable[[], nn.Module] | None = None,
    ) -> None:
        if not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
            raise InputError(f"confidence: expected a number in [0, 1], got {as_fraction(confidence)}")
        if not isinstance(image_size, int) or image_size < STRIDE or image_size % STRIDE:
            raise InputError(f"image_size: expected a multiple of {STRIDE}, got {image_size}")
        check_classes(net, class_names)
        if not isinstance(seed, int):
            raise InputError(f"seed: expected a whole number, got {seed}")
        self.device = torch.device(device)
        check_engine(engine)
        if engine != TORCH and self.device.type != "cpu":
            raise InputError(f"device: expected cpu beside engine={engine}, got {self.device}")
        self.net: Any = make_dense(copy.deepcopy(net)).to(self.device).eval()
        self.seeing: Any = self.net  # what finds the boxes
        if engine != TORCH:
            self.seeing = in_another_engine(engine, self.net, image_size=image_size, make=make)
            self.net = self.seeing.network
            self.seeing(torch.zeros(1, 3, image_size, image_size))  # opened now, not when the first picture comes
        self.class_names = list(class_names)
        self.image_size = image_size
        self.greyscale = greyscale
        self.confidence = confidence
        self.attack = attack
        self.seed = seed

    @classmethod
    def from_run(cls, run: FinishedRun | str | Path, network: str = "pruned", **options: Any) -> "Predictor":
        """A predictor with a network of a finished run, and its classes, image size and colours.

        Args:
            run: from `load_run`, or its folder.
            network: `dense`, `pruned`, or `compact`.
            **options: the others of `Predictor`; they go before those of the run.
        """
        if isinstance(run, str | Path):
            run = load_run(run)
        data = {key: run.config["data"][key] for key in ("image_size", "greyscale")}
        return cls(run.network(network), **{"class_names": run.class_names, "make": run.make, **data, **options})

    def __call__(self, picture: str | Path | Image.Image | Pixels) -> Prediction:
        """Boxes in a picture, in its own pixels.

        Args:
            picture: a file, an image of Pillow, or an array [H, W, 3] uint8 RGB.
        """
        pixels = as_pixels(picture)
        image, letterbox = letterbox_image(to_tensor(pixels), self.image_size, greyscale=self.greyscale)
        images = image[None].to(self.device)  # [1, 3, S, S]
        start = time.perf_counter()
        (found,) = self.detect(images)
        seconds = time.perf_counter() - start
        clean = View(pixels, _to_original(found, letterbox), self.class_names)
        if self.attack is None:
            return Prediction(clean, None, seconds)
        adversarial = self._attacked(self.attack, images, found, letterbox)
        attacked = _to_original(self.detect(adversarial)[0], letterbox)
        seen = View(content_pixels(adversarial[0], letterbox), attacked, self.class_names)
        return Prediction(clean, seen, seconds)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """What is found with enough confidence in network inputs, in their pixels, on the CPU.

        Args:
            images: [B, 3, S, S] in [0, 1], on the device of the network.
        """
        answers = self.seeing.detections(self.seeing(images))
        return [Detections(*(part[found.confidences >= self.confidence].cpu() for part in found)) for found in answers]

    def _attacked(self, attack: Attack, images: Tensor, found: Detections, letterbox: Letterbox) -> Tensor:
        areal = (found.boxes[:, 2:] > found.boxes[:, :2]).all(1)  # a loss asks for objects with an area
        target = Target(
            boxes=found.boxes[areal].to(self.device),
            labels=found.labels[areal].to(self.device),
            image_id=0,
            letterbox=letterbox,
        )
        batch = Batch(images=images, targets=[target])
        with undisturbed(self.net):
            return attacked_images(self.net, batch, attack, generator=torch.Generator().manual_seed(self.seed))


def open_predictor(config: Config) -> Predictor:
    """The network that a config names: of a finished run, or a file of weights with the names of its classes.

    Args:
        config: as in `conf/detect.yaml`.
    """
    run, names, weights = config["run"], config["names"], config["model"].get("weights")
    given = {"run=": run, "names=": names, "model.weights=": weights}
    found = [word for word, value in given.items() if value is not None]
    if found not in (["run="], ["names=", "model.weights="]):
        raise InputError(
            "expected run=, the folder of a finished run, or names=, a file with the class names, and model.weights=; "
            f"got {' and '.join(found) or 'none of them'}"
        )
    options: dict[str, Any] = {
        "confidence": config["confidence"],
        "attack": build.instantiate(config["attack"]),
        "device": _device(str(config["device"]), config["engine"]),
        "seed": config["seed"],
        "engine": config["engine"],
    }
    asked = {key: config[key] for key in ("image_size", "greyscale") if config[key] is not None}
    if run is None:
        class_names = read_names(Path(str(names)))
        net = network_from_weights(config["model"], len(class_names), source="names")
        options["make"] = functools.partial(build.network, settled_model(config["model"], len(class_names)))
        made_for = max(getattr(net, "made_for", (DEFAULT_SIZE,)))  # a .cfg of Darknet says it
        options = {"image_size": -(-made_for // STRIDE) * STRIDE, **asked, **options}
        return Predictor(net, class_names=class_names, **options)
    finished = FinishedRun(str(run), attack=config["attack"], trusted=config["trust"])
    return Predictor.from_run(finished, config["network"], **asked, **options)


def content_pixels(image: Tensor, letterbox: Letterbox) -> Pixels:
    """The part of a network input [3, S, S] in [0, 1] that is no padding, at the size of the original. [H, W, 3]"""
    left, top, width, height = letterbox.content
    content = image[None, :, top : top + height, left : left + width].detach().cpu()
    if (height, width) != (letterbox.height, letterbox.width):
        content = F.interpolate(content, (letterbox.height, letterbox.width), mode="bilinear", antialias=True)
    return (content[0].clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def _to_original(found: Detections, letterbox: Letterbox) -> Detections:
    return found._replace(boxes=letterbox.to_original(found.boxes.double()))


def _device(name: str, engine: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and engine == TORCH else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: expected auto, cpu or one that is there, got {name} ({reason})") from error
