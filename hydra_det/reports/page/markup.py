"""HTML from Python: whatever is not `Markup` already is escaped."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def text(content: Any) -> Markup:
    """Anything as HTML; of lists and the like their items, one after the other.

    Example:
        >>> text(["1 < 2 ", tag("b", "&")])
        '1 &lt; 2 <b>&amp;</b>'
    """
    if isinstance(content, Markup):
        return content
    if isinstance(content, Iterable) and not isinstance(content, str):
        return Markup("".join(map(text, content)))
    return Markup(html.escape(str(content)))


def tag(name: str, /, *content: Any, **attributes: Any) -> Markup:
    """An element. An underline at the end of an attribute's name goes, the others become hyphens; None: no attribute.

    Example:
        >>> tag("td", 5, class_="number")
        '<td class="number">5</td>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>" if name in {"img", "meta"} else f"<{name}{given}>{text(content)}</{name}>")


def table(headings: Sequence[Any], rows: Iterable[Sequence[Any]], *, caption: Any = None) -> Markup:
    """A table that scrolls on its own where it is wider than the page; the first cell of a row heads it.

    A cell may be a whole `<td>` already.
    """
    head = tag("thead", tag("tr", *(tag("th", heading, scope="col") for heading in headings)))
    body = tag("tbody", *(tag("tr", tag("th", row[0], scope="row"), *map(_cell, row[1:])) for row in rows))
    title = [tag("p", caption, class_="caption")] if caption is not None else []  # a <caption> would scroll away
    return text([*title, tag("div", tag("table", head, body), class_="scroll")])


def image(content: bytes, kind: str, *, alt: str, **attributes: Any) -> Markup:
    """A picture that is part of the page; `kind` is "png", "jpeg" or "svg+xml"."""
    data = base64.b64encode(content).decode("ascii")
    return tag("img", src=f"data:image/{kind};base64,{data}", alt=alt, loading="lazy", **attributes)


def figure(picture: Markup, caption: Any, *, class_: str | None = None) -> Markup:
    """A picture with what it says below."""
    return tag("figure", picture, tag("figcaption", caption), class_=class_)


def details(title: Any, *content: Any) -> Markup:
    """Content that unfolds."""
    return tag("details", tag("summary", title), *content)


def bullets(items: Iterable[Any]) -> Markup:
    """A list."""
    return tag("ul", *(tag("li", item) for item in items))


def _cell(content: Any) -> Markup:
    return content if isinstance(content, Markup) and content.startswith("<td") else tag("td", content)
