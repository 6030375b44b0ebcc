"""evaluate.py with a suite: attacks as if each were run alone, resumable, refused in one line where one cannot run."""

import csv
import io
import json
import logging
import subprocess
from typing import Any, cast

import pytest
from rich.console import Console

from hydra_det.attacks.corruptions import CORRUPTIONS, SEVERITIES
from hydra_det.evaluation.alarms import MEMBERS
from hydra_det.finished.opening import open_scored
from hydra_det.finished.run import FinishedRun
from hydra_det.finished.suite.suite import Suite
from hydra_det.reports.tables.corruptions import corruption_frame
from hydra_det.reports.tables.robustness import draw_robustness, suite_table
from hydra_det.store.store import Store
from hydra_det.types import InputError
from tests.pipeline.tiny import compose, run
from tests.process.test_command_line import script

FEW = [
    "suite=standard", "suite.attacks.square.queries=5", "suite.attacks.apgd.steps=3", "suite.attacks.pgd.steps=3",
    "suite.attacks.pgd_doubled.steps=6", "suite.attacks.pgd_eight_bit.steps=3", "suite.attacks.vanishing.steps=2",
    "suite.attacks.pgd_large.steps=2", "suite.attacks.average_precision.steps=2",
    "suite.attacks.average_precision.start.steps=2",
    "suite.attacks.average_precision_apgd.steps=2",
    "suite.attacks.average_precision_apgd.start.steps=2",
    "suite.attacks.average_precision_vanishing.steps=2",
    "suite.attacks.average_precision_vanishing.start.steps=2",
    "suite.attacks.transfer.steps=3",
]  # fmt: skip


def suite(folder, *further):
    settings = compose([f"run={folder}", *FEW, *further], "evaluate")
    scored, network = open_scored(settings)
    return Suite(scored, {**settings, "network": network})


@pytest.fixture(scope="module")
def scored(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    run(finished, "seed=1", name="other")
    found: Any = suite(finished / "run", f"transfer={finished / 'other'}").score(folder)
    return finished, folder, found


def test_every_attack_is_as_if_it_were_run_alone(scored, tmp_path):
    finished, _, found = scored
    by_name = {entry["name"]: entry for entry in found["attacks"]}
    assert list(by_name)[:3] == ["noise", "fgsm", "pgd_5"]
    for name in ("fgsm", "pgd", "apgd"):
        settings = compose([f"run={finished / 'run'}", *FEW], "evaluate")
        alone = FinishedRun(finished / "run", attack=settings["suite"]["attacks"][name])
        alone.store = Store(tmp_path)  # nothing of the suite is found
        metrics, _ = alone.score("pruned")
        assert metrics["attacked"] == by_name[name]["metrics"]
        assert metrics["clean"] == found["clean"]
        assert by_name[name]["attack"]["epsilon"] == pytest.approx(8 / 255)


def test_the_images_are_listed_and_the_worst_is_the_lowest(scored):
    _, folder, found = scored
    with (folder / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["images"] == 6
    for row in rows:
        names = [name for name in row if name not in ("image_id", "worst")]
        assert "pgd_large" not in names, "it leaves the ball"
        assert row["worst"] in names
    counts = {entry["name"]: entry["worst_for"] for entry in found["attacks"]}
    assert sum(counts.values()) + sum(row["worst"] == "clean" for row in rows) == 6
    assert json.loads((folder / "robustness.json").read_text()) == found


def test_the_robust_ap_is_the_lowest(scored):
    _, _, found = scored
    inside = [e["metrics"]["coco"]["map"] for e in found["attacks"] if e["name"] != "pgd_large"]
    assert found["robust_map"] == found["combined"]["coco"]["map"] <= min(found["clean"]["coco"]["map"], *inside)
    (alarm,) = [alarm for alarm in found["alarms"] if alarm["name"] == "no attack near the worst case"]
    gap = min(inside) - found["robust_map"]
    clean = found["clean"]["coco"]["map"]
    assert alarm["figure"] == (pytest.approx(gap / clean) if clean else None)


def test_the_second_time_nothing_is_attacked(scored, tmp_path, caplog, monkeypatch):
    finished, _, found = scored
    monkeypatch.setattr("hydra_det.pipeline.scoring._evaluate", None)
    with caplog.at_level(logging.INFO):
        again = suite(finished / "run", f"transfer={finished / 'other'}").score(tmp_path)
    assert again["combined"] == found["combined"]
    assert caplog.text.count("found finished") == len(found["attacks"])


def test_a_transferred_attack_is_made_on_the_other_network(scored):
    finished, _, found = scored
    by_name = {entry["name"]: entry for entry in found["attacks"]}
    assert by_name["transfer"]["config"] == by_name["pgd"]["config"]
    assert by_name["transfer"]["metrics"] != by_name["pgd"]["metrics"]
    assert found["origin"]["transfer"] == f"{finished / 'other'}, dense"
    to_itself = suite(finished / "run", f"transfer={finished / 'run'}", "transfer_network=pruned")
    own, _ = to_itself._one("transfer")
    assert own["attacked"] == by_name["pgd"]["metrics"], "on the network itself it is the same attack"
    assert "transfer" not in suite(finished / "run").asked.attacks, "without another network there is none"


def test_the_estimate_counts_passes(finished):
    seconds = suite(finished / "run").estimate()
    assert all(value > 0 for value in seconds.values())
    assert seconds["pgd_doubled"] > 1.5 * seconds["pgd"]


def test_a_curve_has_no_worst_case(finished, tmp_path):
    settings = compose([f"run={finished / 'run'}", "suite=epsilon", "suite.steps=2", "network=dense"], "evaluate")
    found = Suite(FinishedRun(settings["run"]), settings).score(tmp_path)
    assert found["combined"] is None
    assert found["attacks"][0]["metrics"] == found["clean"], "epsilon 0 changes nothing"
    assert [round(entry["attack"]["epsilon"] * 255, 2) for entry in found["attacks"]] == [
        0, 1, 2, 4, 8, 12.75, 16, 32, 64,
    ]  # fmt: skip


def test_published_protocols_stand_side_by_side(finished, tmp_path):
    settings = compose([f"run={finished / 'run'}", "suite=published", "suite.steps=2", "network=dense"], "evaluate")
    found = Suite(FinishedRun(settings["run"]), settings).score(tmp_path)
    assert found["combined"] is None, "of attacks of different strength there is no worst case"
    told = {
        entry["name"]: (
            round(255 * entry["attack"]["epsilon"], 2),
            entry["attack"]["objective"],
            entry["attack"]["steps"],
        )
        for entry in found["attacks"]
    }
    assert told == {
        "classification_4": (4, "classification", 2), "box_4": (4, "box", 2), "total_4": (4, "total", 2),
        "classification_8": (8, "classification", 2), "box_8": (8, "box", 2), "total_8": (8, "total", 2),
        "paper": (12.75, "total", 5),
    }  # fmt: skip
    assert len(found["alarms"]) == 2, "nothing is expected to fall from one protocol to the next"
    draw_robustness(found, tmp_path / "bars.png", axis="protocol")
    assert (tmp_path / "bars.png").stat().st_size > 1000


def test_corruptions_have_a_mean_and_no_alarms(finished, tmp_path):
    words = [f"run={finished / 'run'}", "suite=corruptions", "network=dense"]
    settings = compose(words, "evaluate")
    attacks = settings["suite"]["attacks"]
    kept = {name: attacks[name] for name in ("brightness_1", "brightness_5", "gaussian_noise_1", "gaussian_noise_5")}
    settings["suite"]["attacks"] = kept
    found = Suite(FinishedRun(settings["run"]), settings).score(tmp_path)
    assert (found["combined"], found["robust_map"], found["curve"], found["alarms"]) == (None, None, [], [])
    frame = corruption_frame(found, "map_50")
    assert list(frame.index) == ["brightness", "gaussian_noise"]
    assert list(frame.columns) == [1, 5]
    assert frame.loc["gaussian_noise", 5] == found["attacks"][3]["metrics"]["coco"]["map_50"]
    draw_robustness(found, tmp_path / "robustness.png", axis="severity")
    assert (tmp_path / "robustness.png").stat().st_size > 10_000
    text_file = io.StringIO()
    console = Console(width=110, file=text_file)
    console.print(suite_table(found, title="dense"))
    text = text_file.getvalue()
    values = corruption_frame(found)
    mean = float(values.to_numpy().mean())
    assert f"under 2 corruptions {mean:.3f} (mPC)" in " ".join(text.split())
    assert f"{values.to_numpy()[0].mean():.3f}" in text


def test_a_folder_of_other_settings_is_refused(scored):
    finished, folder, _ = scored
    other = f"transfer={finished / 'other'}"
    suite(finished / "run", other).check_folder(folder)
    suite(finished / "run", other).check_folder(folder / "new")
    with pytest.raises(InputError, match=r"transfer=.*other, dense instead of None"):
        suite(finished / "run").check_folder(folder)
    for words, complaint in (
        (["suite.epsilon=0.01"], r"suite\.epsilon=0\.0313.* instead of 0\.01"),
        (["network=dense"], "network=pruned instead of dense"),
        (["suite.attacks.pgd.steps=4"], r"suite\.attacks\.pgd="),
    ):
        with pytest.raises(InputError, match=complaint):
            suite(finished / "run", other, *words).check_folder(folder)


@pytest.mark.slow
def test_the_command_prints_and_draws(scored, tmp_path):
    finished, _, _ = scored
    words = script(f"run={finished / 'run'}", *FEW, f"hydra.run.dir={tmp_path}", name="evaluate")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Robust AP in the L-infinity ball of 0.03137 (8/255): at most " in done.stdout
    assert "not checked: transfer beats gradients" in done.stdout
    assert (tmp_path / "robustness.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["suite.attacks.vanishing.objective=recall"],
            r"suite\.attacks\.vanishing: attack\.objective: expected one of",
        ),
        (["suite.epsilon=2"], r"suite\.epsilon: expected a distance in \(0, 1\]"),
        (["suite.epsilon=null"], r"suite\.epsilon: expected a distance in \(0, 1\], as 0\.0314 for 8/255, got None"),
        (["suite.axis=severity", "suite.epsilon=0.03"], r"suite\.epsilon: expected null, as corruptions have no ball"),
        (
            ["suite.axis=severity", "suite.epsilon=null"],
            r"suite\.attacks\.noise: attack\.epsilon: expected a dist",
        ),
        (
            ["+suite.attacks.fog={_target_: hydra_det.attacks.corruptions.Corruption, kind: fog}"],
            r"suite\.attacks\.fog: expected suite=corruptions for corruptions, got Corruption",
        ),
        (["suite.axis=foo"], r"suite\.axis: expected one of None, epsilon, steps, severity, protocol, got 'foo'"),
        (["transfer=nowhere"], r"run: expected the folder of a finished run, got nowhere"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(finished, words, complaint):
    with pytest.raises(InputError, match=complaint):
        suite(finished / "run", *words)


def test_attacks_are_no_corruptions(finished):
    words = [f"run={finished / 'run'}", "suite=epsilon", "suite.axis=severity", "suite.epsilon=null"]
    settings = compose(words, "evaluate")
    with pytest.raises(InputError, match=r"suite\.attacks\.epsilon_0: expected corruptions alone, got PGD"):
        Suite(FinishedRun(settings["run"]), settings)


def test_no_attack_is_no_member(finished):
    settings = compose([f"run={finished / 'run'}", "suite=quick"], "evaluate")
    settings["suite"]["attacks"]["pgd"] = {"_target_": "hydra_det.attacks.no_attack"}
    with pytest.raises(InputError, match=r"suite\.attacks\.pgd: expected an attack, got none; leave it out"):
        Suite(FinishedRun(finished / "run"), settings)


def test_a_transfer_between_classes_is_refused(finished, monkeypatch):
    names = {"run": ["a", "b"], "other": ["b", "a"]}
    monkeypatch.setattr(FinishedRun, "class_names", property(lambda self: names[self.folder.name]))
    run(finished, "seed=1", name="other")
    with pytest.raises(InputError, match="transfer: expected a network for the classes a, b, got one for b, a"):
        suite(finished / "run", f"transfer={finished / 'other'}")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["suite=quick", "attack.steps=3"], "attack: expected nothing beside suite=, got attack.steps=3"),
        pytest.param(
            ["suite=steps", "transfer={}"],
            "transfer: expected a suite with the attack transfer, got suite=steps",
            marks=pytest.mark.slow,
        ),
        (["transfer={}"], "transfer: expected a suite beside it, got none"),
    ],
)
def test_options_that_would_do_nothing_are_refused(finished, tmp_path, words, complaint):
    words = [word.format(finished / "run") for word in words]
    asked = script(f"run={finished / 'run'}", *words, f"hydra.run.dir={tmp_path}", name="evaluate")
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["quick", "standard", "thorough", "epsilon", "steps", "published", "corruptions"])
def test_the_suites_of_the_package(finished, name):
    settings = compose([f"run={finished / 'run'}", f"suite={name}"], "evaluate")
    made = Suite(FinishedRun(finished / "run"), settings).asked
    assert made.name == name
    known = {member for member in MEMBERS if member != "transfer"}
    if name in ("standard", "thorough"):
        assert known <= set(made.attacks), "every alarm has its attack"
    if name == "quick":
        assert known & set(made.attacks) == {"noise", "fgsm", "pgd", "apgd"}
    if name in ("quick", "standard", "thorough"):
        assert any(attack.startswith("average_precision") for attack in made.attacks), "AP itself is attacked"
    assert made.inside[0] == "clean", "an attacker may also do nothing"
    inside = made.inside[1:]
    if name == "corruptions":
        assert not inside
        named = {f"{attack.kind}_{attack.severity}" for attack in cast("Any", made).attacks.values()}
        assert list(made.attacks) == [f"{kind}_{severity}" for kind in CORRUPTIONS for severity in SEVERITIES]
        assert named == set(made.attacks)
        return
    assert set(made.attacks) - set(inside) == ({"pgd_large"} if "pgd_large" in made.attacks else set())
