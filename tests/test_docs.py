"""The pages: links that lead somewhere, commands that exist, a README of one screen and a map that names every page."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import hydra_det
from hydra_det.records.renamed import current_words

ROOT = Path(__file__).parents[1]
README, MAP = ROOT / "README.md", ROOT / "docs" / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
VERBS = {"train.py", "evaluate.py", "detect.py", "compact.py", "report.py", "doctor.py"}
MAX_LINES, MAX_PICTURE = 150, 300_000  # of the README; bytes

PLACE = re.compile(r"(?<![\w/>])(?:hydra_det|tests|publish|benchmarks|conf|examples)/[\w./]*\w")
WITH_PYTHON = ("pip",)  # which is not in every environment

CONF = ROOT / "conf"
GROUPS = {path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"}
CHOICE = re.compile(r"(?<![\w.+~/])([\w/]+)=([\w,/]+)(?![\w$])")
OPEN = ("null", "path")  # as in run=path/to/a/run

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+(?:\([^()]*\))?[^()\s]*)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
IN_LINE = re.compile(r"`[^`\n]*`")
HEADING = re.compile(r"^#+ +(.*?) *$", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
COMMENT = re.compile(r"(?:^|\s)#.*")
SCRIPT, MODULE, MAKE = (
    re.compile(r"\bpython3? (\S+\.py)\b"),
    re.compile(r"\bpython3? -m ([\w.]+)"),
    re.compile(r"^(?:.*&& )?make((?: [a-z][a-z-]*)+)"),
)


def without_code(text: str) -> str:
    """A page without what is code, where brackets are no links and hashes no headings."""
    lines = [line for line in FENCED.sub("", text).split("\n") if not line.startswith("    ")]
    return IN_LINE.sub("`code`", "\n".join(lines))


def links(text: str) -> list[str]:
    """Where a page leads to."""
    return LINK.findall(without_code(text))


def anchors(text: str) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found[plain] = found.get(plain, -1) + 1
    return {name if not count else f"{name}-{count}" for name, last in found.items() for count in range(last + 1)}


def broken(page: Path) -> Iterator[str]:
    """Links of a page that lead nowhere."""
    for link in links(page.read_text(encoding="utf-8")):
        place, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / place) if place else page
        if not target.exists():
            yield f"{link}: there is no {place}"
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield f"{link}: {target.name} has no such heading"


def code(text: str) -> list[str]:
    """The lines of a page that are code, and what is code within lines, without comments."""
    blocks = [line for block in FENCED.findall(text) for line in block.split("\n")[1:-1]]
    rest = FENCED.sub("", text).split("\n")
    indented = [line for line in rest if line.startswith("    ")]
    within = [found.strip("`") for line in rest if not line.startswith("    ") for found in IN_LINE.findall(line)]
    return [COMMENT.sub("", line).strip() for line in (*blocks, *indented, *within)]


def absent(line: str) -> list[str]:
    """Files and folders of the repository that a line of code names and that are not there."""
    return [path for path in PLACE.findall(line) if not (ROOT / path).exists()]


def is_module(name: str) -> bool:
    """Whether `python -m` finds it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it should be in
        return False


def unknown(line: str) -> list[str]:
    """What a line of code asks for that is not there: scripts, modules and targets of make."""
    targets = TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    scripts = [name for name in SCRIPT.findall(line) if not (ROOT / name).is_file()]
    modules = [name for name in MODULE.findall(line) if name not in WITH_PYTHON and not is_module(name)]
    wanted = [word for words in MAKE.findall(line) for word in words.split()]
    return [*scripts, *modules, *(word for word in wanted if word not in targets)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_file_is_there(page: Path) -> None:
    lines = code(page.read_text(encoding="utf-8"))
    assert {line: missing for line in lines if (missing := unknown(line) + absent(line))} == {}


def test_the_readme_is_short_and_shows_a_picture() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    pictures = [link for link in links(text) if link.endswith((".png", ".jpg"))]
    assert len(pictures) == 1
    assert (ROOT / pictures[0]).stat().st_size < MAX_PICTURE


def test_the_readme_names_what_to_type_first_and_recipes_that_are_there() -> None:
    text = README.read_text(encoding="utf-8")
    lines = code(text)
    assert {"make demo", "make test"} <= set(lines)
    assert {name for line in lines for name in SCRIPT.findall(line)} >= VERBS
    recipes = re.findall(r"experiment=([\w/]+)", text)
    assert recipes
    assert [name for name in recipes if not (ROOT / "conf" / "experiment" / f"{name}.yaml").exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_choice_of_a_group_is_there(page: Path) -> None:
    lines = [line for line in code(page.read_text(encoding="utf-8")) if ".py " in line]
    # The commands in results.md are those of the records, which may name a recipe as it was called then.
    words = [word for line in lines for word in current_words(line.split())]
    chosen = [pair for word in words for pair in CHOICE.findall(word) if pair[0] in GROUPS]
    wanted = [(group, name) for group, names in chosen for name in names.split(",") if name not in OPEN]
    assert [(group, name) for group, name in wanted if not (CONF / group / f"{name}.yaml").is_file()] == []


def test_the_readme_shows_the_method_as_train_reads() -> None:
    text = README.read_text(encoding="utf-8")
    shown = re.findall(r"^\w+ = run\.stage\(.*$", text, re.MULTILINE)
    script = [line.strip() for line in (ROOT / "train.py").read_text(encoding="utf-8").splitlines()]
    assert shown == [line for line in script if "= run.stage(" in line]
    assert len(shown) == 5


def test_the_readme_uses_what_the_library_offers() -> None:
    names = re.findall(r"hydra_det\.([A-Za-z]\w+)", "\n".join(FENCED.findall(README.read_text(encoding="utf-8"))))
    assert {"load_run", "Predictor"} <= set(names)
    assert [name for name in names if not hasattr(hydra_det, name)] == []


def test_the_map_names_every_page() -> None:
    named = {(MAP.parent / link.partition("#")[0]).resolve() for link in links(MAP.read_text(encoding="utf-8"))}
    assert {path for path in PAGES if path != MAP} - named == set()


def test_links_and_anchors_by_hand(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# A title, with `code`: 75 %\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n")
    assert anchors(other.read_text()) == {"a-title-with-code-75-", "twice", "twice-1"}
    page.write_text(
        "[a](other.md#twice-1) [b](other.md#twice-2) ![c](gone.png) [d](https://a.b/c#d) `[e](gone.md)`\n"
        "[f](#gone) [g [h]](other.md)\n\n    [i](gone.md)\n\n```\n[j](gone.md)\n```\n[k](other.md#no-heading)\n"
    )
    assert list(broken(page)) == [
        "other.md#twice-2: other.md has no such heading",
        "gone.png: there is no gone.png",
        "#gone: page.md has no such heading",
        "other.md#no-heading: other.md has no such heading",
    ]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("    make demo     # all five stages", []),
        ("    python train.py -m prune.ratio=0.25,0.5    # python gone.py", []),
        ("Type `python -m publish.write_results` and `make` or `make test`.", []),
        ("```bash\nOMP_NUM_THREADS=1 python -m publish.gone --all\n```", ["publish.gone"]),
        ("    python -m gone.away", ["gone.away"]),
        ("    .venv/bin/python gone.py run=a", ["gone.py"]),
        ("Run `make test gone`.", ["gone"]),
        ("    make lock UPDATE=gone && make licences", []),
        ("See `hydra_det/types.py`, `hydra_det/gone/`, `outputs/conf/gone`.", ["hydra_det/gone"]),
        ("Python alone, and python gone.py or make gone outside of code.", []),
    ],
)
def test_commands_by_hand(text: str, missing: list[str]) -> None:
    assert [name for line in code(text) for name in unknown(line) + absent(line)] == missing
