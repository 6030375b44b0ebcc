"""What a benchmark ran on: processor, memory, versions. Needs no torch, which takes seconds to import."""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from hydra_det.records.provenance import collect_versions

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".peers"  # where `make bench` puts packages that are only compared with
# Instructions of x86 that convolutions gain from, by the flag that Linux shows.
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX BF16"}


def machine() -> dict[str, str]:
    """What this machine is, as far as Linux says, in words."""
    cpu = _cpuinfo()
    flags = cpu.get("flags", "").split()
    has = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    lacks = [name for flag, name in INSTRUCTIONS.items() if flag not in flags]
    return {
        "processor": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": str(cores()),
        "instructions": ", ".join([*has, *(f"no {name}" for name in lacks)]) if flags else "unknown",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def load() -> str:
    """What else wants to run: processes that were ready, a core, in the last minute."""
    return f"{os.getloadavg()[0] / cores():.2f} a core" if hasattr(os, "getloadavg") else "unknown"


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Versions of what is installed, and of the peers."""
    peers = {each.metadata["Name"]: each.version for each in metadata.distributions(path=[str(PEERS)])}
    return {name: version for name, version in {**collect_versions(), **peers}.items() if version}


def surroundings() -> Mapping[str, str]:
    """The environment of a benchmark: that of this process, with the peers within reach."""
    paths = [str(PEERS)] if PEERS.is_dir() else []
    paths += [path for path in (os.environ.get("PYTHONPATH"),) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _cpuinfo() -> dict[str, str]:
    """Of the first processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.exists() else []
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):  # not on Windows
        return "unknown"
