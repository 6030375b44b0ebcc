"""What the official YOLOv3-tiny keeps under attack, on two sets of COCO's val2017: a table of docs/darknet.md.

    python -m publish.official_weights measure path/to/data    # evaluate.py; goes on where it was
    python -m publish.official_weights write                   # the table from docs/official_weights.json

The folder holds `yolov3_tiny_coco/yolov3-tiny.weights` and the two sets of `SETS`.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra_det.files.atomic import write_atomically

ROOT = Path(__file__).parents[1]
FIGURES, PAGE = Path("docs/official_weights.json"), Path("docs/darknet.md")
BEGIN, END = "<!-- official: begin -->\n", "<!-- official: end -->\n"

SETS = {
    "coco_real": ("annotations/instances_val.json", "images/val2017"),
    "coco_val416": ("annotations/test.json", "images"),
}
RADII = {"2/255": "epsilon_2", "4/255": "epsilon_4", "8/255": "epsilon_8", "16/255": "epsilon_16"}
STEPS = 5  # as many as Algorithm 1
LEFT_OUT = ("epsilon_0", "epsilon_1", "epsilon_12_75", "epsilon_32", "epsilon_64")  # of conf/suite/epsilon.yaml
ALGORITHM_1 = "Algorithm 1: 12.75/255, step 5.1/255, 5 steps"


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "write"))
    parser.add_argument("data", nargs="?", type=Path)
    options = parser.parse_args()
    if options.what == "measure":
        if options.data is None:
            parser.error("measure: expected the folder of the data, got none")
        found = {name: measure(options.data, name) for name in SETS}
        write_atomically(ROOT / FIGURES, json.dumps(found, indent=1) + "\n")
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    write_atomically(ROOT / PAGE, with_table(page, json.loads((ROOT / FIGURES).read_text(encoding="utf-8"))))


def commands(data: Path, name: str, output: Path) -> dict[str, list[str]]:
    """What is typed for a set, by the file that it leaves."""
    annotations, images = SETS[name]
    shared = [
        sys.executable, "evaluate.py", "model=yolov3_tiny", "data=coco", f"data.root={data / name}",
        f"model.weights={data / 'yolov3_tiny_coco' / 'yolov3-tiny.weights'}", f"data.name={name}",
        f"data.test_annotations={annotations}", f"data.test_images_dir={images}",
    ]  # fmt: skip
    suite = ["suite=epsilon", f"suite.steps={STEPS}", *(f"~suite.attacks.{attack}" for attack in LEFT_OUT)]
    return {
        "evaluation.json": [*shared, "attack=pgd", f"hydra.run.dir={output / 'algorithm_1'}"],
        "robustness.json": [*shared, *suite, f"hydra.run.dir={output / 'radii'}"],
    }


def measure(data: Path, name: str) -> dict[str, Any]:
    """Both protocols of a set, clean and under every attack; what is in the store is not run again."""
    output = ROOT / "outputs" / "official_weights" / name
    typed = commands(data.resolve(), name, output)
    for command in typed.values():
        subprocess.run(command, check=True, cwd=ROOT)
    one = json.loads((output / "algorithm_1" / "evaluation.json").read_text(encoding="utf-8"))
    radii = json.loads((output / "radii" / "robustness.json").read_text(encoding="utf-8"))
    attacks = {attack["name"]: attack["metrics"] for attack in radii["attacks"]}
    under = {"clean": one["metrics"]["clean"], ALGORITHM_1: one["metrics"]["attacked"]}
    under |= {f"PGD, {radius}, {STEPS} steps": attacks[attack] for radius, attack in RADII.items()}
    return {
        "images": radii["images"],
        "dataset": radii["origin"]["dataset"],
        "versions": radii["origin"]["versions"],
        "commit": radii["origin"]["commit"],
        "protocols": {words: _figures(protocols) for words, protocols in under.items()},
    }


def with_table(page: str, found: Mapping[str, Any]) -> str:
    """The page with the table between its two marks."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"{PAGE}: expected the marks {BEGIN.strip()} and {END.strip()} once each; put them back")
    before, rest = page.split(BEGIN)
    return before + BEGIN + "".join(f"{line}\n" for line in _table(found)) + END + rest.split(END)[1]


def _figures(protocols: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {name: {key: protocols[name][key] for key in ("map", "map_50")} for name in ("coco", "paper")}


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    heads = [f"{name}, {one['images']} images: AP / AP50, confidence ≥ {floor}" for name, one in found.items()
             for floor in ("0.001", "0.5")]  # fmt: skip
    yield f"| official YOLOv3-tiny, 416 px | {' | '.join(heads)} |"
    yield "|---" * (1 + len(heads)) + "|"
    for words in next(iter(found.values()))["protocols"]:
        cells = [
            f"{one['protocols'][words][floor]['map']:.4f} / {one['protocols'][words][floor]['map_50']:.4f}"
            for one in found.values()
            for floor in ("coco", "paper")
        ]
        yield f"| {words} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
