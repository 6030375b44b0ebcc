"""Networks, targets and a batch that every test can afford."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from hydra_det.boxes import Letterbox
from hydra_det.modules.darknet.network import DarknetDetector
from hydra_det.modules.yolo.yolov3 import YOLOv3, YOLOv3SPP, YOLOv3Tiny
from hydra_det.types import Batch, Target
from tests.modules.darknet.example import DEPTHWISE, VARIED

SIZE = 64
CLASSES = 2
NANO: Any = OmegaConf.load(Path(__file__).parents[2] / "conf" / "model" / "yolov3_nano.yaml")

NETWORKS: dict[str, Callable[[], Any]] = {
    "yolov3": lambda: YOLOv3(num_classes=CLASSES, width=0.125, depth=0.125),
    "yolov3_spp": lambda: YOLOv3SPP(num_classes=CLASSES, width=0.125, depth=0.125),
    "yolov3_tiny": lambda: YOLOv3Tiny(num_classes=CLASSES, width=0.125),
    "yolov3_nano": lambda: YOLOv3(num_classes=CLASSES, width=NANO.width, depth=NANO.depth),
    "darknet_depthwise": lambda: DarknetDetector(cfg=DEPTHWISE),
    "darknet_varied": lambda: DarknetDetector(cfg=VARIED),
}
# nano is YOLOv3, only wider
ARCHITECTURES = ("yolov3", "yolov3_spp", "yolov3_tiny", "darknet_depthwise", "darknet_varied")
STRIDES = {
    "yolov3": (32, 16, 8),
    "yolov3_spp": (32, 16, 8),
    "yolov3_tiny": (32, 16),
    "yolov3_nano": (32, 16, 8),
    "darknet_depthwise": (32, 16),
    "darknet_varied": (32, 16),
}


def network(name: str = "yolov3", *, seed: int = 0) -> Any:
    """A seeded network whose heads answer as strongly as they will after training."""
    torch.manual_seed(seed)
    net = NETWORKS[name]()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.1)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                module.weight.mul_(10)
    return net


def target(
    boxes: Sequence[Sequence[float]] | Tensor, labels: Iterable[int], *, image_id: int = 1, letterbox: Any = None
) -> Target:
    """The ground truth of one image; a square image without padding if no letterbox is given."""
    return Target(
        boxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(list(labels), dtype=torch.int64),
        image_id=image_id,
        letterbox=letterbox or Letterbox(SIZE, SIZE, SIZE),
    )


def batch(*, seed: int = 0) -> Batch:
    """Two images with one and two objects."""
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return Batch(
        images=images,
        targets=[target([[5, 9, 40, 50]], [1]), target([[2, 2, 20, 30], [30, 24, 60, 58]], [0, 1], image_id=2)],
    )


def snapshot(net: nn.Module) -> dict[str, Any]:
    """Everything that somebody could disturb: state, gradients and flags, copied."""
    return {
        "state": {name: tensor.detach().clone() for name, tensor in net.state_dict().items()},
        "gradients": {n: None if p.grad is None else p.grad.clone() for n, p in net.named_parameters()},
        "wanted": {name: parameter.requires_grad for name, parameter in net.named_parameters()},
        "modes": {name: module.training for name, module in net.named_modules()},
    }


def assert_untouched(net: nn.Module, before: dict[str, Any]) -> None:
    """Bit by bit as it was."""
    after = snapshot(net)
    assert after["modes"] == before["modes"]
    assert after["wanted"] == before["wanted"]
    for part in ("state", "gradients"):
        assert after[part].keys() == before[part].keys()
        for name, tensor in before[part].items():
            found = after[part][name]
            assert found is tensor is None or torch.equal(found, tensor), f"{part} of {name} changed"


def unsettle(net: nn.Module) -> None:
    """Mixed train flags, mixed `requires_grad`, and gradients left from an earlier step."""
    net.train()
    for index, module in enumerate(net.modules()):
        module.training = index % 3 != 1
    for index, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(index % 4 != 2)
        parameter.grad = None if index % 5 == 3 else torch.full_like(parameter, 0.25)
