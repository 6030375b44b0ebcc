"""What a result was made with: versions of packages, and the commit of this checkout."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

_OURS_AND_TORCH = ("hydra-det", "torch", "torchvision", "pytorch-lightning", "torchmetrics")
_OTHERS = ("captum", "pycocotools", "hydra-core", "omegaconf", "numpy", "onnx", "onnxruntime", "openvino", "numba")


def collect_versions() -> dict[str, str | None]:
    """Versions of Python and of the distributions that a result depends on; None where one is not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in (*_OURS_AND_TORCH, *_OTHERS):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def current_commit() -> str | None:
    """Full hash of the checkout this package runs from, with `-dirty` where tracked files differ; None outside one."""
    # An installed package may lie in a virtual environment inside somebody else's repository: whose commit that is,
    # says whether git tracks this very file.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*arguments: str) -> str | None:
    """Output of a git command in the folder of this package, None where it fails."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
