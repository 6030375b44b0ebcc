"""The import rules: who may import whom, and how large a folder and a file may be.

The sources are read, never run, so an import inside a function or under `TYPE_CHECKING` counts as well.

python -m tests.test_layers [folder of a checkout]    # prints files, floors and arrows of every folder
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A part imports from lower layers only; parts of one layer do not know each other. Scripts stand above them all.
LAYERS = {
    "types": 0,
    "boxes": 0,
    "errors": 0,
    "files": 0,
    "records": 1,
    "pruning": 2,
    "modules": 3,
    "store": 3,
    "process": 3,
    "init": 4,
    "attacks": 4,
    "data": 4,
    "evaluation": 4,
    "compaction": 4,
    "engines": 4,
    "callbacks": 5,
    "reports": 5,
    "pipeline": 6,
    "sweeps": 7,
    "finished": 7,
    "maite": 8,  # our parts for the tools of others
    "__init__": 8,  # the front door: what `import hydra_det` offers
}

# Parts that may import less than their layer allows, or a neighbour in it.
ONLY = {
    "boxes": set(),
    "errors": set(),
    "files": {"errors"},
    "types": {"boxes", "errors"},
    "records": {"errors", "files"},
    "store": {"errors", "files", "records"},
    "process": {"errors", "files", "records"},
    "data": {"types", "boxes", "files"},
    "attacks": {"types"},
    "evaluation": {"types", "files", "records"},
    "engines": {"types", "modules"},
    "compaction": {"types", "files", "records", "pruning", "modules"},
    "reports": {"records", "files"},
}

# Packages that only these files and folders may import.
HYDRA_FILES = (
    "scripts",
    "hydra_det/pipeline/build.py",
    "hydra_det/process/script.py",
    "hydra_det/process/typed/",
    "hydra_det/sweeps/sweep.py",
    "hydra_plugins/",
)
HOMES = {
    "hydra": HYDRA_FILES,
    "omegaconf": HYDRA_FILES,
    "pytorch_lightning": (
        "hydra_det/modules/detector.py",
        "hydra_det/data/datamodule.py",
        "hydra_det/callbacks/",
        "hydra_det/pipeline/",
    ),
    "maite": ("hydra_det/maite/",),  # an extra
    "lightning": (),  # the same library under its other name, which would give every class a twin
}

# What pulls in torch. A report has to be made where no torch is installed.
TORCH = {"torch", "torchvision", "torchmetrics", "captum", "pytorch_lightning", "lightning"}
TORCH_FREE = (
    "report.py",
    "hydra_det/errors.py",
    "hydra_det/files/",
    "hydra_det/records/",
    "hydra_det/process/failures/drives.py",
    "hydra_det/process/dry_run.py",
    "hydra_det/process/interrupts.py",
    "hydra_det/process/locations.py",
    "hydra_det/process/log_lines.py",
    "hydra_det/process/failures/lost_workers.py",
    "hydra_det/process/script.py",
    "hydra_det/process/typed/",
    "hydra_det/process/failures/memory_errors.py",
    "hydra_det/reports/",
)

MAX_LINES_PACKAGE = 300
MAX_LINES_SCRIPT = 60
MAX_FILES = 12  # of a folder, besides its __init__


def test_repository_keeps_the_rules() -> None:
    assert find_violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("hydra_det/pruning/masks.py", "import hydra_det.modules.yolo.loss", "pruning may not import modules"),
        ("hydra_det/modules/yolo/loss.py", "from hydra_det import callbacks", "modules may not import callbacks"),
        ("hydra_det/init/scaled.py", "from hydra_det.attacks.base import Attack", "init may not import attacks"),
        ("hydra_det/compaction/compact.py", "from ..data import coco", "compaction may not import data"),
        ("hydra_det/modules/yolo/loss.py", "from ...attacks.base import Attack", "modules may not import attacks"),
        ("hydra_det/attacks/base.py", "from hydra_det.modules import graph", "attacks may not import modules"),
        ("hydra_det/evaluation/robustness.py", "def f():\n    import hydra_det.modules", "may not import modules"),
        ("hydra_det/data/formats/coco.py", "from hydra_det.records import record", "data may not import records"),
        ("hydra_det/reports/page/page.py", "from hydra_det.types import Batch", "reports may not import types"),
        (
            "hydra_det/reports/page/page.py",
            "from hydra_det.evaluation import latency",
            "reports may not import evaluation",
        ),
        ("hydra_det/callbacks/run_record.py", "from hydra_det.reports import page", "callbacks may not import reports"),
        ("hydra_det/records/record.py", "from hydra_det.types import InputError", "records may not import types"),
        ("hydra_det/boxes.py", "from hydra_det.types import Batch", "boxes may not import types"),
        ("hydra_det/utils.py", "", "utils has no layer"),
        ("hydra_det/pipeline/runner.py", "from hydra_det.helpers import f", "helpers has no layer"),
        ("hydra_det/__init__.py", "import pytorch_lightning as pl", "may not import pytorch_lightning"),
        ("hydra_det/compaction/files.py", "from hydra_det.evaluation import latency", "compaction may not import eval"),
        ("hydra_det/process/script.py", "from hydra_det.pipeline import build", "process may not import pipeline"),
        ("hydra_det/pipeline/check.py", "from hydra_det.sweeps import target", "pipeline may not import sweeps"),
        ("hydra_det/finished/run.py", "from hydra_det.maite import MaiteModel", "finished may not import maite"),
        ("hydra_det/__init__.py", "from hydra_det.maite import MaiteModel", "__init__ may not import maite"),
        ("hydra_det/evaluation/coco_map.py", "import maite.protocols", "evaluation may not import maite"),
        ("hydra_det/sweeps/search.py", "import pytorch_lightning as pl", "may not import pytorch_lightning"),
        ("hydra_det/attacks/base.py", "from hydra.utils import instantiate", "may not import hydra"),
        ("hydra_det/pipeline/stages/stage_runner.py", "from omegaconf import DictConfig", "may not import omegaconf"),
        ("hydra_det/modules/yolo/yolov3.py", "import pytorch_lightning as pl", "may not import pytorch_lightning"),
        ("train.py", "import pytorch_lightning as pl", "may not import pytorch_lightning"),
        ("hydra_det/callbacks/freeze.py", "from lightning.pytorch import Callback", "may not import lightning"),
        (
            "hydra_det/records/record.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor",
            "may not import torch",
        ),
        (
            "hydra_det/reports/statistics/significance.py",
            "import torchmetrics.detection",
            "may not import torchmetrics",
        ),
        ("report.py", "import torch", "may not import torch"),
        ("hydra_det/pruning/masks.py", "from torch.nn import Module", "pruning may not know nn.Module"),
        ("hydra_det/pruning/masks.py", "from torch import nn", "pruning may not know nn.Module"),
        (
            "hydra_det/pruning/masks.py",
            "import torch\nM = torch.nn.Module",
            "pruning may not know nn.Module",
        ),
        ("hydra_det/boxes.py", "x = 1\n" * 301, "has 301 lines"),
        ("evaluate.py", "x = 1\n" * 61, "has 61 lines"),
    ],
)
def test_a_broken_rule_is_found(tmp_path: Path, file: str, source: str, expected: str) -> None:
    write(tmp_path / file, source)
    found = find_violations(tmp_path)
    assert len(found) == 1, found
    assert file in found[0]
    assert expected in found[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("train.py", "import hydra\nfrom omegaconf import OmegaConf\nfrom hydra_det.pipeline.runner import run"),
        ("report.py", "from hydra_det.reports import page"),
        ("hydra_det/pipeline/runner.py", "from hydra_det.reports import tables"),
        ("hydra_det/types.py", "from torch import Tensor\nfrom hydra_det.boxes import Letterbox"),
        (
            "hydra_det/pruning/masks.py",
            "import torch.nn.functional as F\nfrom torch.nn import functional",
        ),
        ("hydra_det/modules/masked_conv.py", "from torch import nn\nfrom hydra_det.pruning.masks import top_k_mask"),
        ("hydra_det/modules/detector.py", "import pytorch_lightning as pl\nfrom . import loss"),
        ("hydra_det/attacks/gradient.py", "from hydra_det.attacks.base import Attack\nfrom .objectives import f"),
        ("hydra_det/init/deeplift.py", "from hydra_det.modules.yolo.loss import f\nimport hydra_det.pruning.sparsity"),
        ("hydra_det/callbacks/freeze.py", "from pytorch_lightning import Callback\nfrom hydra_det.modules import loss"),
        ("hydra_det/pipeline/build.py", "from hydra.utils import instantiate\nimport hydra_det.callbacks.freeze"),
        ("hydra_det/sweeps/sweep.py", "import hydra"),
        ("hydra_det/maite/model.py", "import maite.protocols\nfrom hydra_det.finished.predict import Predictor"),
        (
            "hydra_det/reports/page/page.py",
            "import pandas\nfrom hydra_det.records.record import Record\nfrom . import tables",
        ),
        ("hydra_det/boxes.py", "x = 1\n" * 300),
    ],
)
def test_what_the_rules_allow_passes(tmp_path: Path, file: str, source: str) -> None:
    write(tmp_path / file, source)
    assert find_violations(tmp_path) == []


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert circle(arrows(ROOT)) is None
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None


def test_every_folder_says_what_it_is_for_and_is_not_crowded() -> None:
    for folder in folders(ROOT):
        init = folder / "__init__.py"
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), f"{init} has no docstring"
        files = sorted(path.name for path in folder.glob("*.py") if path != init)
        assert len(files) <= MAX_FILES, f"{folder} holds {len(files)} files, at most {MAX_FILES}: sort them"


def test_floors_are_the_longest_chain_of_imports() -> None:
    assert floors({"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": set()}, ["a", "b", "c", "d"]) == 3
    assert floors({"a": {"b"}, "b": {"c"}, "c": set()}, ["a", "c"]) == 1, "only what stands in the folder counts"


def find_violations(root: Path) -> list[str]:
    """One line for every broken rule in the scripts and the package under `root`."""
    found: list[str] = []
    for path in sorted(root.glob("*.py")):
        found += check_file(path, root=root, part="scripts", max_lines=MAX_LINES_SCRIPT)
    for path in sorted((root / "hydra_det").rglob("*.py")):
        part = path.relative_to(root / "hydra_det").parts[0].removesuffix(".py")
        found += check_file(path, root=root, part=part, max_lines=MAX_LINES_PACKAGE)
    return found


def check_file(path: Path, *, root: Path, part: str, max_lines: int) -> Iterator[str]:
    file = path.relative_to(root).as_posix()
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, filename=file)

    lines = len(source.splitlines())
    if lines > max_lines:
        yield f"{file} has {lines} lines, at most {max_lines} are allowed: split it by noun"
    if part not in {*LAYERS, "scripts"}:
        yield f"{file}: {part} has no layer"

    for line, module in imported_modules(tree, package=Path(file).parent.parts):
        complaint = check_import(module, file=file, part=part)
        if complaint is not None:
            yield f"{file}:{line}: {complaint}"

    for node in ast.walk(tree):
        if part == "pruning" and isinstance(node, ast.Attribute) and node.attr == "Module":
            yield f"{file}:{node.lineno}: pruning may not know nn.Module"


def check_import(module: str, *, file: str, part: str) -> str | None:
    """What is wrong with `file`, of `part`, importing `module`; None where nothing is."""
    top = module.partition(".")[0]
    if top == "hydra_det":
        return check_own_import(module, part=part)
    if top in TORCH and file.startswith(TORCH_FREE):
        return f"{part} may not import {top}: it runs where no torch is installed"
    if top in HOMES and part not in HOMES[top] and not file.startswith(HOMES[top]):
        return f"{part} may not import {top}; its places are {', '.join(HOMES[top]) or 'none'}"
    if part == "pruning" and module.startswith("torch.nn") and not module.startswith("torch.nn.functional"):
        return f"pruning may not know nn.Module, and imports {module}"
    return None


def check_own_import(module: str, *, part: str) -> str | None:
    other = (*module.split("."), "")[1]
    if other not in LAYERS:
        return f"{other or module} has no layer"
    if part in {"scripts", other}:
        return None
    lower = {name for name, layer in LAYERS.items() if layer < LAYERS.get(part, 0)}
    return None if other in ONLY.get(part, lower) else f"{part} may not import {other}"


def imported_modules(tree: ast.AST, *, package: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported anywhere in `tree`, a file of `package`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += [node.module] if node.module else []
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def write(path: Path, source: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


def folders(root: Path) -> list[Path]:
    """The folders of the package that hold code."""
    return sorted({path.parent for path in (root / "hydra_det").rglob("*.py")})


def arrows(root: Path) -> dict[str, set[str]]:
    """Which files of the package each of them imports."""
    paths = sorted((root / "hydra_det").rglob("*.py"))
    modules = {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    names = {path: path.relative_to(root).as_posix() for path in paths}
    found: dict[str, set[str]] = {}
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {module for _, module in imported_modules(tree, package=path.relative_to(root).parent.parts)}
        # `from a.b import c` gives a.b.c: the module b, unless c is a module itself.
        known = {module if module in modules else module.rpartition(".")[0] for module in imported}
        found[names[path]] = {names[modules[module]] for module in known if module in modules} - {names[path]}
    return found


def circle(graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Files that import one another in a circle; None where there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def floors(graph: Mapping[str, set[str]], files: Sequence[str]) -> int:
    """The longest chain of imports among some files."""
    inside = {file: {other for other in graph.get(file, ()) if other in files} for file in files}
    height: dict[str, int] = {}
    for file in TopologicalSorter(inside).static_order():
        height[file] = 1 + max((height[other] for other in inside[file]), default=0)
    return max(height.values(), default=0)


def plan(root: Path) -> Iterator[str]:
    """A line a folder: files, floors, arrows to other folders; and whether anything imports in a circle."""
    graph = arrows(root)
    yield f"{'folder':34} files  floors  arrows out"
    for folder in folders(root):
        inside = [path.relative_to(root).as_posix() for path in folder.glob("*.py") if path.name != "__init__.py"]
        out = Counter(str(Path(other).parent) for file in inside for other in graph[file] if other not in inside)
        yield f"{folder.relative_to(root).as_posix():34} {len(inside):5}  {floors(graph, inside):6}  {len(out):10}"
    parts: dict[str, set[str]] = {}
    for file, others in graph.items():
        parts.setdefault(part_of(file), set()).update(part_of(other) for other in others if part_of(other))
    parts = {part: others - {part} for part, others in parts.items() if part}
    yield f"circles of files: {circle(graph) or 'none'}; of parts: {circle(parts) or 'none'}"


def part_of(file: str) -> str:
    """The room of a file: the first name below the package."""
    return file.split("/")[1].removesuffix(".py").replace("__init__", "")


if __name__ == "__main__":
    print(*plan(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT), sep="\n")  # noqa: T201
