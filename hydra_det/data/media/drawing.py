"""Labelled boxes on a picture, one colour a class."""

import colorsys
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GOLDEN = 0.618034  # steps of the golden ratio around the colour wheel never come close to one another soon
BRIGHT = 0.55  # luminance above which black text is read better than white

Colour = tuple[int, int, int]


def class_colour(label: int) -> Colour:
    """RGB of a class: the same in every picture, neighbours far apart."""
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.8, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    texts: Sequence[str],
    *,
    colour: Colour | None = None,
) -> None:
    """Draw boxes and their texts into an RGB image; lines and letters grow with it.

    Args:
        image: drawn into.
        boxes: xyxy in pixels of the image; the last is drawn on top.
        labels: class of each box, which gives its colour.
        texts: of each box; an empty one is not drawn.
        colour: of all boxes, instead of those of their classes.
    """
    draw = ImageDraw.Draw(image)
    side = min(image.size)
    width, font = max(1, round(side / 250)), ImageFont.load_default(size=max(10, round(side / 36)))
    for box, label, text in zip(boxes, labels, texts, strict=True):
        shade = colour or class_colour(label)
        left, top, right, bottom = (float(corner) for corner in box)
        draw.rectangle((left, top, max(left, right), max(top, bottom)), outline=shade, width=width)
        if text:
            _draw_text(draw, text, (left, top), image.size, font=font, shade=shade)


def draw_detections(
    image: Image.Image,
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    confidences: Sequence[float],
    *,
    class_names: Sequence[str],
) -> None:
    """Draw what was found, the most certain first, with names and confidences; the most certain is drawn on top."""
    texts = [f"{class_names[label]} {value:.2f}" for label, value in zip(labels, confidences, strict=True)]
    draw_boxes(image, boxes[::-1], labels[::-1], texts[::-1])


def caption(image: Image.Image, text: str) -> Image.Image:
    """The image with a line of text above it."""
    font = ImageFont.load_default(size=max(12, round(min(image.size) / 28)))
    height = round(1.6 * font.size)  # type: ignore[union-attr]
    whole = Image.new("RGB", (image.width, image.height + height), "white")
    ImageDraw.Draw(whole).text((height / 4, height / 2), text, fill="black", font=font, anchor="lm")
    whole.paste(image, (0, height))
    return whole


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Images of equal height next to one another, with a gap."""
    gap = max(4, images[0].height // 100)
    whole = Image.new(
        "RGB", (sum(image.width for image in images) + gap * (len(images) - 1), images[0].height), "white"
    )
    left = 0
    for image in images:
        whole.paste(image, (left, 0))
        left += image.width + gap
    return whole


def _draw_text(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    size: tuple[int, int],
    *,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    shade: Colour,
) -> None:
    """Above the corner of a box where there is room, else inside; never outside the picture."""
    _, _, width, height = draw.textbbox((0, 0), text, font=font)
    left = max(0.0, min(corner[0], size[0] - width - 2))
    top = corner[1] - height - 2 if corner[1] >= height + 2 else max(0.0, min(corner[1], size[1] - height - 2))
    draw.rectangle((left, top, left + width + 2, top + height + 2), fill=shade)
    bright = (0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2]) / 255 > BRIGHT
    draw.text((left + 1, top), text, fill="black" if bright else "white", font=font)
