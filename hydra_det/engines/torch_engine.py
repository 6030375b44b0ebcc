"""torch itself: the network as it is, and as `torch.export` keeps it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hydra_det.engines.engine import Forward

EXPORTED = "network.pt2"


def no_file(_network: nn.Module, _folder: Path, _example: Tensor) -> None:
    """torch runs the network as it is."""
    return None


def in_torch(network: nn.Module, _file: Path | None, _threads: int, *, bf16: bool = False) -> Forward:
    """Forward of the network itself, in float32 or in bf16 autocast."""

    def forward(images: Tensor) -> list[Tensor]:
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            return [raw.float() for raw in network(images)]

    return forward


def write_exported(network: nn.Module, folder: Path, example: Tensor) -> Path:
    """Always anew: torch unpickles such a file when it opens it, so only what was written just now is opened."""
    file = folder / EXPORTED
    file.unlink(missing_ok=True)
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=1024)}}
    # Two images: one would be taken for a constant.
    with torch.no_grad():
        torch.export.save(torch.export.export(network, (example[:1].repeat(2, 1, 1, 1),), dynamic_shapes=shapes), file)
    return file


def in_exported(_network: nn.Module, file: Path | None, threads: int) -> Forward:
    """Forward of what `write_exported` wrote."""
    module: Any = torch.export.load(str(file)).module()
    return in_torch(module, None, threads)
