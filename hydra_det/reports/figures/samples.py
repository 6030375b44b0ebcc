"""One test image as every network sees it: ratios down, configurations across, as in the paper's figure 6."""

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

FOLDER = "pruned/samples"  # below that of a run
TILE = 300  # pixels
TALLEST = 8  # height of a picture over its width: a strip would become a page of its own
LEFT, TOP, GAP = 60, 44, 6  # of the labels, and between tiles
QUALITY = 82
BLANK = (236, 236, 236)
INK = (40, 40, 40)


class SampleGrid(NamedTuple):
    """A picture of pictures, and what is in it."""

    picture: bytes  # JPEG
    image_id: str
    condition: str  # "attacked", "clean"
    sources: dict[tuple[float, str], Path]  # by ratio and configuration; a missing one is not there
    missing: int  # tiles without a picture
    seeds: list[int]  # of the runs that the tiles come from


def sample_grid(
    frame: pd.DataFrame, paths: Mapping[str, Path], configurations: list[str], *, condition: str
) -> SampleGrid | None:
    """The image that most runs have a picture of; a tile is from the first seed that has it. None: no pictures at all.

    Args:
        frame: `records_frame` of the runs.
        paths: the folder of every run, by its name in the column `folder`.
        configurations: from left to right.
        condition: "attacked" or "clean".
    """
    found = {folder: _pictures(path, condition) for folder, path in paths.items()}
    counted = Counter(key for pictures in found.values() for key in pictures)
    if not counted:
        return None
    key = min(counted, key=lambda image: (-counted[image], len(image), image))
    sources, seeds = {}, set()
    for run in frame.sort_values("seed", kind="stable").to_dict("records"):
        cell = (run["ratio"], run["configuration"])
        if key in found[run["folder"]] and cell not in sources:
            sources[cell] = found[run["folder"]][key]
            seeds.add(int(run["seed"]))
    ratios = sorted(frame["ratio"].unique())
    picture, drawn = _compose(sources, ratios, configurations)
    missing = len(ratios) * len(configurations) - drawn
    return SampleGrid(picture, key, condition, sources, missing, sorted(seeds))


def read_tile(path: Path, *, width: int = TILE) -> Image.Image | None:
    """A picture at the width of a tile; None for a file that is none."""
    try:
        # JPEG alone, whatever the suffix says: for EPS Pillow would start a program.
        with Image.open(path, formats=["JPEG"]) as opened:
            if opened.height > TALLEST * opened.width:
                return None
            picture = opened.convert("RGB")
    except Exception:  # Pillow raises nearly every kind of a broken file
        return None
    return picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS)


def _pictures(run: Path, condition: str) -> dict[str, Path]:
    """Pictures of a run by the id of the image."""
    ending = f"_{condition}.jpg"
    return {path.name.removesuffix(ending): path for path in sorted((run / FOLDER).glob(f"*{ending}"))}


def _compose(
    sources: Mapping[tuple[float, str], Path], ratios: list[float], configurations: list[str]
) -> tuple[bytes, int]:
    """The JPEG, and how many of its tiles are pictures."""
    tiles = {cell: tile for cell, path in sources.items() if (tile := read_tile(path)) is not None}
    height = max((tile.height for tile in tiles.values()), default=TILE)
    font, small = ImageFont.load_default(size=17), ImageFont.load_default(size=14)
    size = LEFT + len(configurations) * (TILE + GAP), TOP + len(ratios) * (height + GAP)
    whole = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(whole)
    for column, configuration in enumerate(configurations):
        left = LEFT + column * (TILE + GAP)
        draw.text((left + TILE / 2, TOP / 2), _fitted(configuration, font), fill=INK, font=font, anchor="mm")
        for row, ratio in enumerate(ratios):
            top = TOP + row * (height + GAP)
            if (tile := tiles.get((ratio, configuration))) is not None:
                whole.paste(tile, (left, top))
            else:
                draw.rectangle((left, top, left + TILE - 1, top + height - 1), fill=BLANK)
                draw.text((left + TILE / 2, top + height / 2), "no picture", fill=INK, font=small, anchor="mm")
    for row, ratio in enumerate(ratios):
        middle = TOP + row * (height + GAP) + height / 2
        draw.text((LEFT - 8, middle), f"{100 * ratio:g} %", fill=INK, font=font, anchor="rm")
    buffer = io.BytesIO()
    whole.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue(), len(tiles)


def _fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """The text, cut at its end where it is wider than a tile."""
    if font.getlength(text) <= TILE:
        return text
    text = text[:TILE]  # no letter is narrower than a pixel
    while text and font.getlength(f"{text}…") > TILE:
        text = text[:-1]
    return f"{text}…"
