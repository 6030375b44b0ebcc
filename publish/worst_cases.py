"""What attacks on AP find beside attacks on the loss alone: a table of docs/attacks.md.

    python -m publish.worst_cases measure "name=outputs/runs/<run>" ...    # evaluate.py; goes on where it was
    python -m publish.worst_cases measure "name=model=yolov3_tiny model.weights=yolov3-tiny.weights ..." --radius 2
    python -m publish.worst_cases write                                    # the table from docs/worst_cases.json

The dense network of every run, or what evaluate.py reads by such words, meets the suite `standard` and that suite as
it was in version 1, on the same images.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra_det.files.atomic import write_atomically
from hydra_det.pipeline import build

ROOT = Path(__file__).parents[1]
FIGURES, PAGE = Path("docs/worst_cases.json"), Path("docs/attacks.md")
BEGIN, END = "<!-- worst cases: begin -->\n", "<!-- worst cases: end -->\n"

ON_AP = ("average_precision", "average_precision_apgd", "average_precision_vanishing")
# With random_start: what is typed is laid over what the suite says now.
PGD = "{_target_:hydra_det.attacks.gradient.PGD,epsilon:${suite.epsilon},step_size:null,random_start:false,steps:%s}"
OTHERS = {  # of version 1; where a name is taken its attack was another one
    "pgd": PGD % "20",
    "pgd_doubled": PGD % "40",
    "pgd_eight_bit": PGD % "20,eight_bit:true",
    "fabrication": PGD % "20,objective:fabrication",
    "mislabelling": PGD % "20,objective:mislabelling",
    "task_wise": "{_target_:hydra_det.attacks.task_wise.TaskWise,epsilon:${suite.epsilon},step_size:null,steps:20}",
}


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "write"))
    parser.add_argument("networks", nargs="*", help="name=folder of a finished run, or words for evaluate.py")
    parser.add_argument("--images", type=int, default=40, help="of the test images")
    parser.add_argument("--radius", type=int, default=8, help="of the attacks, in 255ths")
    options = parser.parse_args()
    if options.what == "measure":
        networks = dict(word.split("=", 1) for word in options.networks if "=" in word)
        if not networks or len(networks) < len(options.networks):
            parser.error("measure: expected name=folder, or name=words, for every network")
        found = {
            name: measure(name, network, images=options.images, radius=options.radius)
            for name, network in networks.items()
        }
        earlier = json.loads((ROOT / FIGURES).read_text(encoding="utf-8")) if (ROOT / FIGURES).is_file() else {}
        write_atomically(ROOT / FIGURES, json.dumps({**earlier, **found}, indent=1) + "\n")
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    write_atomically(ROOT / PAGE, with_table(page, json.loads((ROOT / FIGURES).read_text(encoding="utf-8"))))


def commands(network: str, output: Path, *, images: int, radius: int = 8) -> dict[str, list[str]]:
    """What is typed for a network, the folder of a run or words for evaluate.py, by suite."""
    words = (
        shlex.split(network) if "=" in network and not Path(network).is_dir() else [f"run={network}", "network=dense"]
    )
    shared = [sys.executable, "evaluate.py", *words, "suite=standard", f"images={images}"]
    shared += [] if radius == 8 else [f"suite.epsilon={radius / 255}"]
    earlier = [f"~suite.attacks.{attack}" for attack in ON_AP]
    earlier += [f"++suite.attacks.{attack}={config}" for attack, config in OTHERS.items()]
    return {
        "now": [*shared, f"hydra.run.dir={output / 'now'}"],
        "version 1": [*shared, *earlier, f"hydra.run.dir={output / 'version_1'}"],
    }


def measure(name: str, network: str, *, images: int, radius: int) -> dict[str, Any]:
    """Both suites on a network; what is in the store is not run again."""
    output = ROOT / "outputs" / "worst_cases" / re.sub(r"\W+", "_", name if radius == 8 else f"{name} {radius}")
    suites = {}
    for suite, command in commands(network, output, images=images, radius=radius).items():
        subprocess.run(command, check=True, cwd=ROOT)
        where = Path(command[-1].partition("=")[2])
        suites[suite] = json.loads((where / "robustness.json").read_text(encoding="utf-8"))
    now = suites["now"]
    return {
        "images": now["images"],
        "radius": radius,
        "dataset": now["origin"]["dataset"],
        "versions": now["origin"]["versions"],
        "commit": now["origin"]["commit"],
        "clean": now["clean"]["coco"]["map"],
        "attacks": {
            entry["name"]: {"map": entry["metrics"]["coco"]["map"], "chosen": entry["worst_for"]}
            for entry in now["attacks"]
        },
        "suites": {
            suite: {
                "map": found["robust_map"],
                "passes": _passes(found["attacks"]),
                "alarms": [alarm["name"] for alarm in found["alarms"] if alarm["raised"]],
            }
            for suite, found in suites.items()
        },
    }


def with_table(page: str, found: Mapping[str, Any]) -> str:
    """The page with the table between its two marks."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"{PAGE}: expected the marks {BEGIN.strip()} and {END.strip()} once each; put them back")
    before, rest = page.split(BEGIN)
    return before + BEGIN + "".join(f"{line}\n" for line in _table(found)) + END + rest.split(END)[1]


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    heads = [f"{name}, {one['images']} images, {one.get('radius', 8)}/255" for name, one in found.items()]
    yield _row("AP", heads)
    yield "|---" * (1 + len(found)) + "|"
    yield _row("clean", [f"{one['clean']:.3f}" for one in found.values()])
    for attack in next(iter(found.values()))["attacks"]:
        cells = [f"{one['attacks'][attack]['map']:.3f} ({one['attacks'][attack]['chosen']})" for one in found.values()]
        yield _row(f"`{attack}`", cells)
    for suite, words in (("version 1", "worst case, version 1"), ("now", "worst case")):
        yield _row(f"{words} ≤", [f"{one['suites'][suite]['map']:.3f}" for one in found.values()])
    costs = [[one["suites"][suite]["passes"] for suite in ("version 1", "now")] for one in found.values()]
    yield _row("passes of an image, as a multiple of version 1", [f"{now / then:.2f}" for then, now in costs])


def _passes(attacks: list[dict[str, Any]]) -> int:
    """Through the network, for an image: forward, and back to the image, which costs about the same."""
    costs = [build.instantiate(entry["config"]).cost for entry in attacks]
    return sum(2 * cost.gradients + cost.forwards for cost in costs)


def _row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
