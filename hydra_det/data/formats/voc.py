"""Pascal VOC: one xml file an image (Everingham et al. 2010, "The Pascal Visual Object Classes Challenge")."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from hydra_det.data.formats.assembly import Annotation, AnnotationSet, ImageEntry
from hydra_det.types import InputError


def parse_voc(files: Sequence[Path], *, classes: Sequence[str], one_based: bool, difficult: str) -> AnnotationSet:
    """Read and check xml files; the k-th image gets the id k, counted from 1.

    Args:
        files: in the order of the images.
        classes: names in label order; category ids are counted from 1.
        one_based: whether the first pixel is 1 and xmax, ymax are the last pixels inside, as in the challenge itself;
            most later files count from 0 and name corners.
        difficult: `ignore` makes objects marked as difficult regions that are neither learnt nor scored, `keep` takes
            them as all others.
    """
    if difficult not in ("ignore", "keep"):
        raise InputError(f"data.difficult: expected ignore or keep, got {difficult!r}")
    ids = {name: number for number, name in enumerate(classes, start=1)}
    images: dict[int, ImageEntry] = {}
    annotations: list[Annotation] = []
    for image_id, file in enumerate(files, start=1):
        root = _parse(file)
        images[image_id] = ImageEntry(
            image_id, _text(root, "filename", file), _size(root, "width", file), _size(root, "height", file)
        )
        for number, thing in enumerate(root.iter("object")):
            place = f"{file}: object[{number}]"
            name = _text(thing, "name", place)
            if name not in ids:
                raise InputError(f"{place}: expected one of {', '.join(classes)} under 'name', came {name!r:.100}")
            left, top, right, bottom = (_number(thing, f"bndbox/{key}", place) for key in _CORNERS)
            if one_based:
                left, top = left - 1, top - 1
            box = left, top, right - left, bottom - top
            ignored = difficult == "ignore" and (thing.findtext("difficult") or "0").strip() == "1"
            area = max(0.0, box[2]) * max(0.0, box[3])
            annotations.append(Annotation(len(annotations) + 1, image_id, ids[name], box, area, ignored))
    return AnnotationSet({number: name for name, number in ids.items()}, images, annotations)


def voc_classes(files: Iterable[Path]) -> list[str]:
    """The names of all objects in the files, in alphabetical order."""
    return sorted({_text(thing, "name", file) for file in files for thing in _parse(file).iter("object")})


_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def _parse(file: Path) -> ElementTree.Element:
    def refuse(*_: object) -> None:
        raise InputError(f"{file}: expected an annotation, came a file that defines xml entities; remove them")

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
        raise InputError(f"{place}: expected a text under {key!r}, came none; correct the file")
    return text


def _number(element: ElementTree.Element, key: str, place: object) -> float:
    text = _text(element, key, place)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:
        raise InputError(f"{place}: expected a number under {key!r}, came {text!r:.100}; correct the file")
    return value


def _size(root: ElementTree.Element, key: str, file: Path) -> int:
    value = _number(root, f"size/{key}", file)
    if value < 1 or value != int(value):
        raise InputError(f"{file}: expected a whole number of pixels under 'size/{key}', came {value:g}")
    return int(value)
