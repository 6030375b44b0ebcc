"""Drawing one picture of the built-in data set: coloured shapes on a textured ground.

A class is a shape *and* a colour. The two colours differ in chroma only: for every luminance (Rec. 601) that occurs in
one, the other occurs equally often, so a greyscale picture holds nothing that tells them apart.

Objects may cover one another. A placement that would hide more than 60 % of an object below is drawn again, and given
up after a few tries: so every object in a picture has a label and shows at least 40 % of its area. Boxes are the tight
boxes of the whole shapes, covered parts included; no shape leaves the picture.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHAPES = ("circle", "ring", "cross")
COLOURS = ("red", "green")
# In label order; the ids have gaps, as COCO's have, so that nothing can mistake an id for a label.
CATEGORIES = {
    1: "red circle",
    2: "green circle",
    4: "red ring",
    7: "green ring",
    8: "red cross",
    11: "green cross",
}

REFERENCE = 160  # canvas side in pixels for which sizes are given; they grow with the canvas
SIDES = (30.0, 100.0)  # shortest and longest side of a shape, before it is turned; drawn evenly on a logarithmic scale
MOST_OBJECTS = 4
EMPTY_SHARE = 0.06  # of the pictures
MIN_VISIBLE = 0.4  # of every object's area
_TRIES = 12
_FINE = 4  # masks are drawn at this multiple and averaged

# Directions in RGB that leave 0.299 R + 0.587 G + 0.114 B as it is.
_RED_GREEN = np.array([0.7, -0.7 * 0.299 / 0.587, 0.0])
_BLUE = np.array([0.0, -0.114 / 0.587, 1.0])

_Grey = NDArray[np.float32]  # [H, W] in [0, 1]
_Colour = NDArray[np.float32]  # [..., 3]
_Points = NDArray[np.float64]  # [P, 2] x and y


@dataclass(frozen=True, eq=False)
class Shape:
    """One drawn object."""

    category_id: int
    box: tuple[float, float, float, float]  # xyxy pixels, multiples of a quarter
    area: float  # visible pixels


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and its objects."""

    pixels: NDArray[np.uint8]  # [H, W, 3]
    shapes: list[Shape]


@dataclass(frozen=True, eq=False)
class _Stamp:
    """A shape before it is placed for good: how much of each pixel it covers, within a whole-pixel window."""

    left: int
    top: int
    cover: _Grey  # [h, w] in [0, 1]
    box: tuple[float, float, float, float]

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.cover.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def draw_scene(rng: np.random.Generator, canvas: int) -> Scene:
    """Draw a picture `canvas` pixels square; everything random comes from `rng`."""
    picture = _draw_clutter(_background(rng, canvas), rng)  # [H, W, 3]
    count = 0 if rng.random() < EMPTY_SHARE else int(rng.integers(1, MOST_OBJECTS + 1))
    stamps: list[_Stamp] = []
    categories: list[int] = []
    visible: list[_Grey] = []  # [H, W] each
    for _ in range(count):
        category_id = int(rng.choice(list(CATEGORIES)))
        colour, shape = CATEGORIES[category_id].split()
        stamp = _place(rng, shape, canvas, stamps, visible)
        if stamp is None:
            continue
        for below in visible:
            below[stamp.window] *= 1 - stamp.cover
        stamps.append(stamp)
        categories.append(category_id)
        visible.append(_spread(stamp, canvas))
        paint = _paint(rng, colour, *stamp.cover.shape)
        cover = stamp.cover[:, :, None]
        picture[stamp.window] = picture[stamp.window] * (1 - cover) + paint * cover
    shapes = [
        Shape(category_id, stamp.box, float(seen.sum()))
        for category_id, stamp, seen in zip(categories, stamps, visible, strict=True)
    ]
    return Scene(_to_bytes(picture), shapes)


def object_colour(luminance: float, chroma: float, tint: float, colour: str) -> _Colour:
    """RGB of a colour of the given Rec. 601 luminance, which is the same for both `COLOURS`. [3]"""
    sign = {"red": 1.0, "green": -1.0}[colour]
    return (luminance + sign * chroma * _RED_GREEN + tint * _BLUE).astype(np.float32)


def _place(
    rng: np.random.Generator, shape: str, canvas: int, stamps: list[_Stamp], visible: list[_Grey]
) -> _Stamp | None:
    """A stamp that leaves enough of every object below; None when there is no room."""
    for _ in range(_TRIES):
        stamp = _stamp(rng, shape, canvas)
        rest = [below.sum() - (below[stamp.window] * stamp.cover).sum() for below in visible]
        if all(area >= MIN_VISIBLE * old.cover.sum() for area, old in zip(rest, stamps, strict=True)):
            return stamp
    return None


def _stamp(rng: np.random.Generator, shape: str, canvas: int) -> _Stamp:
    """A shape of random size, aspect, turn and place, wholly inside the canvas."""
    side = math.exp(rng.uniform(*np.log(SIDES))) * canvas / REFERENCE
    aspect = math.exp(rng.uniform(-0.15, 0.15))
    turn = math.radians(rng.uniform(-25, 25))
    outline = _outline(shape) * [side / 2 * aspect, side / 2 / aspect]  # [P, 2]
    outline = outline @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    low, high = outline.min(axis=0), outline.max(axis=0)
    # A pixel of margin: rounding outwards below must not leave the canvas.
    outline = outline + rng.uniform(1 - low, np.maximum(canvas - 1 - high, 1 - low))
    left, top = np.floor(outline.min(axis=0)).astype(int) - 1
    width, height = np.ceil(outline.max(axis=0)).astype(int) + 1 - [left, top]
    mask = Image.new("L", (int(width) * _FINE, int(height) * _FINE))
    points = (outline - [left, top]) * _FINE
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in points], fill=255)
    box = mask.getbbox()
    assert box is not None, "a shape covers at least one sub-pixel"
    cover = np.asarray(mask.reduce(_FINE), dtype=np.float32) / np.float32(255)
    x1, y1, x2, y2 = (value / _FINE for value in box)
    return _Stamp(int(left), int(top), cover, (left + x1, top + y1, left + x2, top + y2))


def _outline(shape: str) -> _Points:
    """Corners of a shape in [-1, 1]. [P, 2]"""
    if shape == "cross":
        arm = 0.36  # half the width of an arm
        quarter = np.array([[-arm, -1], [arm, -1], [arm, -arm]])
        turns = ([[1, 0], [0, 1]], [[0, 1], [-1, 0]], [[-1, 0], [0, -1]], [[0, -1], [1, 0]])
        return np.concatenate([quarter @ np.array(turn) for turn in turns])
    angles = np.linspace(0, 2 * math.pi, 65)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # A ring is one line: once around outside, and back around the hole.
    return np.concatenate([circle, 0.5 * circle[::-1]]) if shape == "ring" else circle


def _spread(stamp: _Stamp, canvas: int) -> _Grey:
    """The cover of a stamp on the whole canvas. [H, W]"""
    whole = np.zeros((canvas, canvas), dtype=np.float32)
    whole[stamp.window] = stamp.cover
    return whole


def _paint(rng: np.random.Generator, colour: str, height: int, width: int) -> _Colour:
    """A shaded, slightly mottled surface. [H, W, 3]"""
    luminance = rng.uniform(0.3, 0.62)
    chroma = rng.uniform(0.6, 0.95) * min(luminance, 1 - luminance) / 0.7
    rgb = object_colour(luminance, chroma, rng.uniform(-0.12, 0.12), colour)
    angle, depth = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.25)
    ramp_y, ramp_x = (
        np.linspace(-1, 1, height, dtype=np.float32)[:, None],
        np.linspace(-1, 1, width, dtype=np.float32)[None],
    )
    shade = 1 - depth * (ramp_x * math.cos(angle) + ramp_y * math.sin(angle) + 1) / 2
    mottle = 1 - 0.08 * _noise(rng, height, width, cells=5, colour=0)
    # Only ever darker: clipping at 1 would change the luminance of one colour and not of the other.
    return rgb * shade[:, :, None] * mottle


def _background(rng: np.random.Generator, canvas: int) -> _Colour:
    """A colour gradient with noise at four scales. [H, W, 3]"""
    ground = rng.uniform(0.25, 0.75) + 0.5 * (_noise(rng, canvas, canvas, cells=2) - 0.5)
    for cells, strength in ((4, 0.35), (10, 0.25), (27, 0.18), (canvas // 2, 0.12)):
        ground += rng.uniform(0.4, 1) * strength * (_noise(rng, canvas, canvas, cells=cells, colour=0.4) - 0.5)
    return ground


def _noise(rng: np.random.Generator, height: int, width: int, *, cells: int, colour: float = 1.0) -> _Colour:
    """Smooth noise: a random grid of `cells` squares, magnified. [H, W, 3] in [0, 1]

    Args:
        rng: source of the grid.
        height: pixels.
        width: pixels.
        cells: of the grid, along a side.
        colour: 1 for three independent channels, 0 for grey.
    """
    grid = rng.uniform(0, 255, size=(cells, cells, 3))
    grid = colour * grid + (1 - colour) * grid[:, :, :1]
    image = Image.fromarray(grid.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _draw_clutter(picture: _Colour, rng: np.random.Generator) -> _Colour:
    """The picture [H, W, 3] with strokes and arcs of any colour, which no class looks like."""
    image = Image.fromarray(_to_bytes(picture))
    draw = ImageDraw.Draw(image)
    size = image.width
    for _ in range(int(rng.integers(0, 11))):
        red, green, blue = (int(value) for value in rng.integers(20, 236, size=3))
        x, y = (float(value) for value in rng.uniform(0, size, size=2))
        reach = float(rng.uniform(0.05, 0.25)) * size
        thickness = int(rng.integers(1, 4)) * max(1, size // REFERENCE)
        angle = float(rng.uniform(0, 360))
        if rng.random() < 0.5:
            end = (x + reach * math.cos(math.radians(angle)), y + reach * math.sin(math.radians(angle)))
            draw.line([(x, y), end], fill=(red, green, blue), width=thickness)
        else:
            corners = [x - reach, y - reach, x + reach, y + reach]
            draw.arc(corners, angle, angle + 80, fill=(red, green, blue), width=thickness)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _to_bytes(picture: _Colour) -> NDArray[np.uint8]:
    return (picture * 255).round().clip(0, 255).astype(np.uint8)
