"""The table of what attacks on AP find: what is typed composes, and the page says what was measured."""

import json

import yaml

from publish.worst_cases import BEGIN, END, FIGURES, ON_AP, OTHERS, PAGE, ROOT, _passes, commands, with_table
from tests.test_configs import composed

ONE = {
    "images": 40, "clean": 0.2341,
    "attacks": {"pgd": {"map": 0.15004, "chosen": 3}, "average_precision": {"map": 0.0751, "chosen": 37}},
    "suites": {"version 1": {"map": 0.12, "passes": 1000, "alarms": []},
               "now": {"map": 0.0657, "passes": 1250, "alarms": []}},
}  # fmt: skip


def test_both_suites_are_what_they_are_called(tmp_path):
    typed = commands("outputs/runs/x", tmp_path, images=7)
    now, then = (
        composed(*[word for word in words[2:] if "hydra.run.dir" not in word], config_name="evaluate")
        for words in typed.values()
    )
    assert now["images"] == then["images"] == 7
    standard = yaml.safe_load((ROOT / "conf" / "suite" / "standard.yaml").read_text())["attacks"]
    assert set(now["suite"]["attacks"]) == set(standard) >= set(ON_AP)
    # As in version 1 of the file.
    assert set(then["suite"]["attacks"]) == {
        "noise", "fgsm", "pgd_5", "pgd", "pgd_doubled", "pgd_eight_bit", "pgd_large", "task_wise", "vanishing",
        "fabrication", "mislabelling", "apgd", "square", "transfer",
    }  # fmt: skip
    for name in OTHERS:
        assert then["suite"]["attacks"][name]["epsilon"] == now["suite"]["epsilon"]
        assert not then["suite"]["attacks"][name].get("random_start")
    assert then["suite"]["attacks"]["pgd_doubled"]["steps"] == 40
    assert then["suite"]["attacks"]["fabrication"]["objective"] == "fabrication"


def test_a_network_by_words(tmp_path):
    typed = commands("model=yolov3_tiny 'model.weights=a b.weights'", tmp_path, images=7, radius=2)
    for words in typed.values():
        assert words[2:6] == ["model=yolov3_tiny", "model.weights=a b.weights", "suite=standard", "images=7"]
        assert f"suite.epsilon={2 / 255}" in words


def test_the_table_by_hand():
    page = with_table(
        f"before\n{BEGIN}old\n{END}after\n", {"the demo": ONE, "BCCD": {**ONE, "images": 72, "radius": 2}}
    )
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    lines = page.split(BEGIN)[1].split(END)[0].splitlines()
    assert lines == [
        "| AP | the demo, 40 images, 8/255 | BCCD, 72 images, 2/255 |",
        "|---|---|---|",
        "| clean | 0.234 | 0.234 |",
        "| `pgd` | 0.150 (3) | 0.150 (3) |",
        "| `average_precision` | 0.075 (37) | 0.075 (37) |",
        "| worst case, version 1 ≤ | 0.120 | 0.120 |",
        "| worst case ≤ | 0.066 | 0.066 |",
        "| passes of an image, as a multiple of version 1 | 1.25 | 1.25 |",
    ]


def test_passes_are_those_of_all_attacks():
    pgd = {"_target_": "hydra_det.attacks.gradient.PGD", "epsilon": 0.03, "steps": 7}
    square = {"_target_": "hydra_det.attacks.square.Square", "epsilon": 0.03, "queries": 50}
    assert _passes([{"config": pgd}, {"config": square}]) == 2 * 7 + 51


def test_the_page_says_what_was_measured():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    if (ROOT / FIGURES).is_file():
        assert with_table(page, json.loads((ROOT / FIGURES).read_text(encoding="utf-8"))) == page
    else:
        assert f"{BEGIN}Nothing was measured yet.\n{END}" in page
