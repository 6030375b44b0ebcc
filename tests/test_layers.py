"""The import rules: who may import whom.

The sources are read, never run, so an import inside a function or under `TYPE_CHECKING` counts as well.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A part imports from lower layers only; parts of one layer do not know each other. Scripts stand above them all.
LAYERS = {
    "types": 0,
    "boxes": 0,
    "errors": 0,
    "machine_errors": 0,
    "plain_values": 0,
    "plain_yaml": 0,
    "atomic": 0,
    "record": 0,
    "schema": 0,
    "objectives": 0,
    "robustness": 0,
    "provenance": 0,
    "drawing": 0,
    "prune": 1,
    "modules": 2,
    "init": 3,
    "attacks": 3,
    "data": 3,
    "evaluation": 3,
    "compaction": 3,
    "callbacks": 4,
    "reports": 4,
    "pipeline": 5,
}

# Parts that may import less than their layer allows, or, for `types`, a neighbour in it.
ONLY = {
    "boxes": set(),
    "errors": set(),
    "machine_errors": set(),
    "plain_values": set(),
    "plain_yaml": {"errors"},
    "drawing": set(),
    "atomic": set(),
    "record": {"atomic", "schema"},
    "schema": {"errors", "plain_values"},
    "objectives": {"atomic", "record", "schema"},
    "robustness": {"record", "schema"},
    "provenance": set(),
    "types": {"boxes", "errors"},
    "data": {"types", "boxes", "drawing", "machine_errors", "plain_values", "plain_yaml"},
    "attacks": {"types", "boxes", "record", "prune"},
    "evaluation": {"types", "boxes", "atomic", "record", "robustness", "prune"},
    "reports": {"record", "objectives", "robustness", "atomic"},
}

# Packages that only these files and folders may import.
HYDRA_FILES = ("build.py", "script.py", "sweep.py")
HOMES = {
    "hydra": ("scripts", *(f"hydra_det/pipeline/{file}" for file in HYDRA_FILES)),
    "omegaconf": ("scripts", *(f"hydra_det/pipeline/{file}" for file in HYDRA_FILES)),
    "pytorch_lightning": (
        "hydra_det/modules/detector.py",
        "hydra_det/data/datamodule.py",
        "hydra_det/callbacks/",
        "hydra_det/pipeline/",
    ),
    "lightning": (),  # the same library under its other name, which would give every class a twin
}

# What pulls in torch. A report has to be made where no torch is installed.
TORCH = {"torch", "torchvision", "torchmetrics", "captum", "pytorch_lightning", "lightning"}
TORCH_FREE = (
    "report.py",
    "hydra_det/errors.py",
    "hydra_det/files/machine_errors.py",
    "hydra_det/files/plain_values.py",
    "hydra_det/files/plain_yaml.py",
    "hydra_det/records/record.py",
    "hydra_det/records/schema.py",
    "hydra_det/records/objectives.py",
    "hydra_det/records/robustness.py",
    "hydra_det/process/drives.py",
    "hydra_det/process/interrupts.py",
    "hydra_det/process/locations.py",
    "hydra_det/process/log_lines.py",
    "hydra_det/process/script.py",
    "hydra_det/process/memory_errors.py",
    "hydra_det/reports/",
)

MAX_LINES_PACKAGE = 300
MAX_LINES_SCRIPT = 60


def test_repository_keeps_the_rules() -> None:
    assert find_violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("hydra_det/prune/masks.py", "import hydra_det.modules.yolo.loss", "prune may not import modules"),
        ("hydra_det/modules/yolo/loss.py", "from hydra_det import callbacks", "modules may not import callbacks"),
        ("hydra_det/init/scaled.py", "from hydra_det.attacks.base import Attack", "init may not import attacks"),
        ("hydra_det/compaction/compact.py", "from ..data import coco", "compaction may not import data"),
        ("hydra_det/modules/yolo/loss.py", "from ..attacks.base import Attack", "modules may not import attacks"),
        ("hydra_det/attacks/base.py", "from hydra_det.modules import loss", "attacks may not import modules"),
        ("hydra_det/evaluation/robustness.py", "def f():\n    import hydra_det.modules", "may not import modules"),
        ("hydra_det/data/formats/coco.py", "from hydra_det.records.record import Record", "data may not import record"),
        ("hydra_det/reports/page/page.py", "from hydra_det.types import Batch", "reports may not import types"),
        (
            "hydra_det/reports/page/page.py",
            "from hydra_det.evaluation import latency",
            "reports may not import evaluation",
        ),
        ("hydra_det/callbacks/run_record.py", "from hydra_det.reports import page", "callbacks may not import reports"),
        ("hydra_det/records/record.py", "from hydra_det.types import InputError", "record may not import types"),
        ("hydra_det/boxes.py", "from hydra_det.types import Batch", "boxes may not import types"),
        ("hydra_det/utils.py", "", "utils has no layer"),
        ("hydra_det/pipeline/runner.py", "from hydra_det.helpers import f", "helpers has no layer"),
        ("hydra_det/__init__.py", "from hydra_det.types import Batch", "__init__ may not import types"),
        ("hydra_det/attacks/base.py", "from hydra.utils import instantiate", "may not import hydra"),
        ("hydra_det/pipeline/stages.py", "from omegaconf import DictConfig", "may not import omegaconf"),
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
        ("hydra_det/prune/masks.py", "from torch.nn import Module", "prune may not know nn.Module"),
        ("hydra_det/prune/masks.py", "from torch import nn", "prune may not know nn.Module"),
        ("hydra_det/prune/masks.py", "import torch\ndef f(m: torch.nn.Module): ...", "prune may not know nn.Module"),
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
        ("hydra_det/process/command_line.py", "from hydra_det.reports import tables"),
        ("hydra_det/types.py", "from torch import Tensor\nfrom hydra_det.boxes import Letterbox"),
        ("hydra_det/prune/masks.py", "import torch\nimport torch.nn.functional as F\nfrom torch.nn import functional"),
        ("hydra_det/modules/masked_conv.py", "from torch import nn\nfrom hydra_det.prune.masks import top_k_mask"),
        ("hydra_det/modules/detector.py", "import pytorch_lightning as pl\nfrom . import loss"),
        ("hydra_det/attacks/gradient.py", "from hydra_det.attacks.base import Attack\nfrom .objectives import f"),
        ("hydra_det/init/deeplift.py", "from hydra_det.modules.yolo.loss import f\nimport hydra_det.prune.sparsity"),
        ("hydra_det/callbacks/freeze.py", "from pytorch_lightning import Callback\nfrom hydra_det.modules import loss"),
        ("hydra_det/pipeline/build.py", "from hydra.utils import instantiate\nimport hydra_det.callbacks.freeze"),
        ("hydra_det/sweeps/sweep.py", "import hydra"),
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
    if part not in {*LAYERS, "scripts", "__init__"}:
        yield f"{file}: {part} has no layer"

    for line, module in imported_modules(tree, package=Path(file).parent.parts):
        complaint = check_import(module, file=file, part=part)
        if complaint is not None:
            yield f"{file}:{line}: {complaint}"

    for node in ast.walk(tree):
        if part == "prune" and isinstance(node, ast.Attribute) and node.attr == "Module":
            yield f"{file}:{node.lineno}: prune may not know nn.Module"


def check_import(module: str, *, file: str, part: str) -> str | None:
    """What is wrong with `file`, of `part`, importing `module`; None where nothing is."""
    top = module.partition(".")[0]
    if top == "hydra_det":
        return check_own_import(module, part=part)
    if top in TORCH and file.startswith(TORCH_FREE):
        return f"{part} may not import {top}: it runs where no torch is installed"
    if top in HOMES and part not in HOMES[top] and not file.startswith(HOMES[top]):
        return f"{part} may not import {top}; its places are {', '.join(HOMES[top]) or 'none'}"
    if part == "prune" and module.startswith("torch.nn") and not module.startswith("torch.nn.functional"):
        return f"prune may not know nn.Module, and imports {module}"
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
