"""docs/your_own_network.md: the file that it shows, the code that it gives, and what it says of mistakes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hydra_det
from hydra_det.types import Detections, InputError, LossTerms
from tests.examples.own_network import EXAMPLES
from tests.modules.example import CLASSES, SIZE

PAGE = (Path(__file__).parents[2] / "docs" / "your_own_network.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = dict(re.findall(r"^\| ([^|`]+) \| `([^`]+)` \|$", PAGE, re.MULTILINE))


def test_the_page_shows_the_file_as_it_is() -> None:
    source = (EXAMPLES / "own_network.py").read_text(encoding="utf-8")
    _, _, code = source.partition('"""\n\n')
    assert BLOCKS[0] == code
    assert code.startswith("import math\n")


def test_what_the_page_does_from_python_runs(trained: Path, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    (tmp_path / "outputs" / "runs").mkdir(parents=True)
    (tmp_path / "outputs" / "runs" / "mine").symlink_to(trained / "run")
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[1], "docs/your_own_network.md", "exec"), {})
    terms, average_precision = capsys.readouterr().out.splitlines()
    assert terms == "['classification', 'box', 'offset']"
    assert 0 <= float(average_precision) <= 1


def wrapped(name: str, change: Callable[..., Any]) -> Callable[[Any], None]:
    """A mistake: what a method answers is changed."""

    def spoil(net: Any) -> None:
        own = getattr(net, name)
        setattr(net, name, lambda *given: change(own(*given), *given))

    return spoil


def divided(terms: LossTerms, _raw: Any, targets: Any) -> LossTerms:
    objects = sum(len(target["labels"]) for target in targets)
    return LossTerms({name: value / objects for name, value in terms.items()})


def standardised(net: Any) -> None:
    own = net.losses

    def losses(raw: Any, targets: Any) -> LossTerms:
        return own([torch.nn.functional.batch_norm(maps, None, None, training=True) for maps in raw], targets)

    net.losses = losses


def otherwise_in_training(net: Any) -> None:
    class MyDetector(type(net)):  # type: ignore[misc]
        def forward(self, images: torch.Tensor) -> Any:
            raw = super().forward(images)
            return {"heat": raw[0]} if self.training else raw

    net.__class__ = MyDetector


# By the words of the page.
MISTAKES: dict[str, Callable[[Any], None]] = {
    "a loss that is the mean over the batch": wrapped(
        "losses", lambda terms, *_: LossTerms({name: value.mean() for name, value in terms.items()})
    ),
    "a loss divided by the objects of the whole batch": wrapped("losses", divided),
    "BatchNorm, or other statistics of the batch, in the loss": standardised,
    "labels from 1 in what is found": wrapped(
        "detections", lambda found, *_: [one._replace(labels=one.labels + 1) for one in found]
    ),
    "a class too many, for the background": lambda net: setattr(net, "num_classes", CLASSES + 1),
    "another answer in train mode": otherwise_in_training,
    "a plain dictionary of terms": wrapped("losses", lambda terms, *_: dict(terms)),
    "boxes in any order": wrapped(
        "detections", lambda found, *_: [Detections(*(part.flip(0) for part in one)) for one in found]
    ),
    "raw maps that are cut off from the images": wrapped("forward", lambda raw, *_: [maps.detach() for maps in raw]),
}


def test_the_page_lists_these_mistakes() -> None:
    assert list(ROWS) == list(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_as_the_page_says(own_network: Any, mistake: str) -> None:
    torch.manual_seed(0)
    net = own_network.MyDetector(CLASSES, width=16)
    hydra_det.check_detector(net, num_classes=CLASSES, image_size=SIZE)
    MISTAKES[mistake](net)
    said = ".*".join(map(re.escape, ROWS[mistake].split("…")))
    with pytest.raises(InputError, match=f"^{said}$"):
        hydra_det.check_detector(net, num_classes=CLASSES, image_size=SIZE)
