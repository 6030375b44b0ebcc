"""Numba, with what it compiled kept on disk where there is room for it."""

from collections.abc import Callable
from typing import Any

from llvmlite import binding
from numba import njit
from numba.core import config


def lanes() -> int:
    """Floats of a vector register: 16 with AVX-512, 8 with AVX2; 0 without either."""
    said = config.CPU_FEATURES  # type: ignore[attr-defined]  # by the environment, for all that Numba compiles
    features = {*(said or binding.get_host_cpu_features().flatten()).split(",")}
    if "+avx512f" in features:
        return 16
    return 8 if features >= {"+avx2", "+fma"} else 0


def compiled(function: Callable[..., Any]) -> Any:
    """A function as machine code, made when it is first called; threads run it side by side."""
    settings: Any = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    try:
        return njit(cache=True, **settings)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache may be written
        return njit(**settings)(function)
