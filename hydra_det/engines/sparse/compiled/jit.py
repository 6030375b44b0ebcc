"""Numba, with what it compiled kept on disk where there is room for it."""

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config
from numba.core.codegen import get_host_cpu_features

SETTINGS: Any = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


def lanes() -> int:
    """Floats of a vector register: 16 with AVX-512, 8 with AVX2; 0 without either."""
    said = config.CPU_FEATURES  # type: ignore[attr-defined]  # by the environment, for all that Numba compiles
    features = {*(said or get_host_cpu_features()).split(",")}
    if "+avx512f" in features:
        return 16
    return 8 if features >= {"+avx2", "+fma"} else 0


def compiled(function: Callable[..., Any]) -> Any:
    """A function as machine code, made when it is first called; threads run it side by side."""
    kept = folder()
    if kept is None:
        return njit(**SETTINGS)(function)
    theirs = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(kept)  # type: ignore[attr-defined]
    try:
        return njit(cache=True, **SETTINGS)(function)
    finally:
        config.CACHE_DIR = theirs  # type: ignore[attr-defined]


@functools.cache
def folder() -> Path | None:
    """Where machine code is kept; None: there is no place that may be written.

    Numba looks at the file of a function alone, and at the kind of processor; what the function calls may have changed
    as well. So every state of this package has a folder of its own.
    """
    sources = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        root = Path(config.CACHE_DIR or Path(home) / "hydra_det")  # type: ignore[attr-defined]
        kept = root / f"sparse-{sources.hexdigest()[:12]}"
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=kept):
            return kept
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return None
