"""Pictures as part of the page."""

import base64
from collections.abc import Mapping
from typing import NamedTuple

from hydra_det.reports.figures.captions import CAPTIONS


class Chart(NamedTuple):
    """A figure and what is said of it."""

    name: str  # of its file
    address: str  # the picture itself
    caption: str

    @property
    def alt(self) -> str:
        """For those who do not see it."""
        return self.name.replace("_", " ")


def chart(name: str, pictures: Mapping[str, bytes], *, caption: str | None = None) -> Chart:
    """A figure by the name of its file without ending; its SVG goes into the page.

    Args:
        name: of the file.
        pictures: by the names of their files.
        caption: which of `CAPTIONS`; None takes the one of that name, if there is one.
    """
    return Chart(name, data_uri(pictures[f"{name}.svg"], "svg+xml"), CAPTIONS.get(caption or name, ""))


def data_uri(content: bytes, kind: str) -> str:
    """A picture as an address; `kind` is "png", "jpeg" or "svg+xml"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
