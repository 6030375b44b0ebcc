"""Pascal VOC: one xml file an image (Everingham et al. 2010, "The Pascal Visual Object Classes Challenge")."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from hydra_det.data.checks.findings import Notes
from hydra_det.data.formats.assembly import Annotation, AnnotationSet, ImageEntry
from hydra_det.data.formats.places import Pictures, base_name
from hydra_det.data.images import SUFFIXES
from hydra_det.types import InputError


class XmlFile(NamedTuple):
    """An annotation file.

    Attributes:
        path: of the file.
        stem: of the picture that lies beside it, or in its place in the folder of the pictures.
    """

    path: Path
    stem: str


def parse_voc(
    files: Sequence[XmlFile],
    *,
    pictures: Pictures,
    classes: Sequence[str],
    one_based: bool,
    difficult: str,
    notes: Notes,
) -> AnnotationSet:
    """Read and check xml files; the k-th image gets the id k, counted from 1.

    Args:
        files: in the order of the images.
        pictures: among which the images are.
        classes: names in label order; category ids are counted from 1.
        one_based: whether the first pixel is 1 and xmax, ymax are the last pixels inside, as in the challenge itself;
            most later files count from 0 and name corners.
        difficult: `ignore` makes objects marked as difficult regions that are neither learnt nor scored, `keep` takes
            them as all others.
        notes: takes what is found.
    """
    if difficult not in ("ignore", "keep"):
        raise InputError(f"data.difficult: expected ignore or keep, got {difficult!r}")
    ids = {name: number for number, name in enumerate(classes, start=1)}
    images: dict[int, ImageEntry] = {}
    annotations: list[Annotation] = []
    for image_id, file in enumerate(files, start=1):
        with notes.item():
            root = _parse(file.path)
            images[image_id] = _image(image_id, root, file, pictures=pictures, notes=notes)
            for number, thing in enumerate(root.iter("object")):
                with notes.item():
                    place = f"{file.path}: object[{number}]"
                    category, box = _object(thing, place, ids=ids, one_based=one_based)
                    ignored = difficult == "ignore" and (thing.findtext("difficult") or "0").strip() == "1"
                    area = max(0.0, box[2]) * max(0.0, box[3])
                    own_id = len(annotations) + 1
                    annotations.append(Annotation(own_id, image_id, category, box, area, ignored, place=place))
    return AnnotationSet({number: name for name, number in ids.items()}, images, annotations)


def voc_classes(files: Iterable[XmlFile], *, notes: Notes) -> list[str]:
    """The names of all objects in the files, in alphabetical order."""
    found: set[str] = set()
    unread = Notes(notes.source, keep_going=notes.keep_going)  # said when the objects are read
    for file in files:
        with unread.item():
            found.update(_text(thing, "name", file.path) for thing in _parse(file.path).iter("object"))
    return sorted(found)


def picture_of(file: XmlFile, name: str, *, pictures: Pictures, notes: Notes, image_id: int) -> Path | None:
    """The picture that a file is about, None where there is none.

    What `<filename>` says decides. Tools write it without a suffix, with the one that the picture had before it was
    converted, or with the path it had on another machine; and pictures are renamed with their annotations, but not in
    them. So the one beside the file is taken where there is no other.

    Raises:
        InputError: both are there, or two have the name.
    """
    what, written = f"the image of {file.path.name}", base_name(name)
    suffix, own = Path(written).suffix, Path(file.stem).name
    stem = written.removesuffix(suffix) if suffix.lower() in SUFFIXES else written
    beside = pictures.of_stem(file.stem, what=what)
    named = pictures.named(name, what=what)
    if named is None:
        folder = "" if "\\" in name else name.removesuffix(written)
        several = pictures.of_stem(folder + stem, what=what) or beside
        if len(several) > 1:
            both = " and ".join(path.name for path in several)
            raise InputError(f"{file.path}: expected one image of the name {name:.200}, got {both}; remove one")
        named = several[0] if several else None
    if named is not None and named.stem != own and beside:
        raise InputError(
            f"{file.path}: expected {beside[0].name} under 'filename', got {name:.200}, and both images are there; "
            "say which one it is about"
        )
    if named is not None and stem != own:
        notes.add("renamed", f"{file.path}: filename {name:.200}, taken {named.name}", image_id)
    return named


def _image(image_id: int, root: ElementTree.Element, file: XmlFile, *, pictures: Pictures, notes: Notes) -> ImageEntry:
    name = _text(root, "filename", file.path)
    size = _size(root, "width", file.path), _size(root, "height", file.path)
    path = picture_of(file, name, pictures=pictures, notes=notes, image_id=image_id)
    if path is None:
        return ImageEntry(image_id, name, *size)
    return ImageEntry(image_id, path.relative_to(pictures.folder).as_posix(), *size, path=path)


def _object(
    thing: ElementTree.Element, place: str, *, ids: dict[str, int], one_based: bool
) -> tuple[int, tuple[float, float, float, float]]:
    """Category id, and left, top, width and height."""
    name = _text(thing, "name", place)
    if name not in ids:
        raise InputError(f"{place}: expected one of {', '.join(ids)} under 'name', got {name!r:.100}")
    left, top, right, bottom = (_number(thing, f"bndbox/{key}", place) for key in _CORNERS)
    if one_based:
        left, top = left - 1, top - 1
    return ids[name], (left, top, right - left, bottom - top)


_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _parse(file: Path) -> ElementTree.Element:
    def refuse(*_: object) -> None:
        raise InputError(f"{file}: expected an annotation, got a file that defines xml entities; remove them")

    builder, parser = ElementTree.TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    # Entities are the one thing in xml that can make a small file huge or read another one; annotations have none. The
    # parser says where one is, in whatever encoding the file is.
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(file.read_bytes(), True)
        return builder.close()
    except OSError as error:
        raise InputError(f"{file}: expected an xml file, could not read it ({error.strerror})") from error
    except expat.ExpatError as error:
        place = f"line {error.lineno} column {error.offset}"
        reason = expat.errors.messages[error.code]
        raise InputError(f"{file}: expected xml, {reason} at {place}; was it cut off?") from error
    except InputError:
        raise
    except (LookupError, ValueError) as error:  # of the encoding that the file names
        raise InputError(f"{file}: expected xml, could not decode it ({error}); save it as UTF-8") from error


def _text(element: ElementTree.Element, key: str, place: object) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise InputError(f"{place}: expected a text under {key!r}, got none; correct the file")
    return text


def _number(element: ElementTree.Element, key: str, place: object) -> float:
    text = _text(element, key, place)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:
        raise InputError(f"{place}: expected a number under {key!r}, got {text!r:.100}; correct the file")
    return value


def _size(root: ElementTree.Element, key: str, file: Path) -> int:
    value = _number(root, f"size/{key}", file)
    if value < 1 or value != int(value):
        raise InputError(f"{file}: expected a whole number of pixels under 'size/{key}', got {value:g}")
    return int(value)
