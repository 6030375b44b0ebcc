"""Test images as the networks of one run see them: dense and pruned, clean and attacked, with their boxes."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra_det.reports.figures.samples import QUALITY, read_tile

WIDTH = 384  # pixels
NETWORKS = ("dense", "pruned")
CONDITIONS = ("clean", "attacked")


class View(NamedTuple):
    """One image in one network."""

    image_id: str
    network: str  # of `NETWORKS`
    condition: str  # of `CONDITIONS`
    picture: bytes  # JPEG


def run_views(run: Path) -> list[View]:
    """All pictures that a run left and that can be read, by image, network and condition.

    Args:
        run: its folder.
    """
    found = []
    for network in NETWORKS:
        for condition in CONDITIONS:
            ending = f"_{condition}.jpg"
            for path in sorted((run / network / "samples").glob(f"*{ending}")):
                if (tile := read_tile(path, width=WIDTH)) is not None:
                    buffer = io.BytesIO()
                    tile.save(buffer, format="JPEG", quality=QUALITY, optimize=True)
                    found.append(View(path.name.removesuffix(ending), network, condition, buffer.getvalue()))
    return sorted(found, key=lambda view: (len(view.image_id), view.image_id))  # stable: the rest stays in order


def side_by_side(views: Iterable[View]) -> list[View]:
    """One image: in the dense network clean and attacked, then attacked in the pruned one, where there are pictures.

    Of several images the first that shows most of it.
    """
    order = (("dense", "clean"), ("dense", "attacked"), ("pruned", "attacked"))
    rows = [[view for key in order for view in row if (view.network, view.condition) == key] for row in by_image(views)]
    return max(rows, key=len, default=[])  # the first of equals


def by_image(views: Iterable[View]) -> list[list[View]]:
    """The views of every image, images in the order in which they come."""
    rows: dict[str, list[View]] = {}
    for view in views:
        rows.setdefault(view.image_id, []).append(view)
    return list(rows.values())


def first_views(runs: Sequence[Path]) -> tuple[Path, list[View]] | None:
    """The first run that has pictures, with them."""
    for run in runs:
        if views := run_views(run):
            return run, views
    return None
