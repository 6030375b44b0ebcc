"""What is said of a command that no config can be made of: one line, with what may have been meant."""

import inspect
import os
import shlex
import subprocess
import sys
from importlib import import_module

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

import hydra_det.pipeline.build  # noqa: F401 - what configs call
from hydra_det.process.locations import CONFIG_DIR, SCRIPTS
from hydra_det.process.typed.answers import answer, of_an_addition, quoted
from hydra_det.process.typed.command import command, options_first


def said(script, *words):
    """The answer to words that a config cannot be made of."""
    with pytest.raises((HydraException, ValueError)) as raised, initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        compose(script, list(words))
    text = answer(raised.value, script, words)
    assert "\n" not in text
    assert "See http" not in text
    return text


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("prune.ration=0.3", "prune.ration: no such setting; did you mean prune.ratio?"),
        ("attac.steps=3", "attac.steps: no such setting; did you mean attack.steps?"),
        ("ratio=0.3", "ratio: no such setting; did you mean prune.ratio?"),
        ("lr=1", "did you mean stage.finetune.optimizer.lr, stage.pretrain.optimizer.lr or stage.train_scores.optimi"),
        ("prunes=kernel", "prunes: no such setting; did you mean prune?"),
        ("experimnt=smoke", "experimnt: no such setting; did you mean experiment?"),
        ("foo=3", "foo: no such setting; train.py has attack, callbacks, "),
        ("hydra.run.dirs=x", "did you mean hydra.run.dir?"),
        ("trainer.max_time=9", "if pytorch_lightning.Trainer takes it, type +trainer.max_time=..."),
        ("init=deeplft", "magnitude, random, scaled, snip, synflow, taylor, got deeplft; did you mean init=deeplift?"),
        ("prune=kernels", "got kernels; did you mean prune=kernel?"),
        ("experiment=bccd/claen", "got bccd/claen; did you mean experiment=bccd/clean?"),
        ("stage@stage.pretrain=pretran", "did you mean stage@stage.pretrain=pretrain?"),
        ("hydra/launcher=jobli", "hydra/launcher: expected one of basic, devices, joblib, "),
        ("data=/home/photos", "data: expected one of bccd, coco, "),
        ("prune.ratio", "prune.ratio: expected key=value, got no =; did you mean prune.ratio=...?"),
        ("~prune.rati", "did you mean ~prune.ratio?"),
        ("+prune.ratio=0.3", "+prune.ratio: there is one already; to change it, type prune.ratio=... without the +"),
        ("+prune=kernel", "+prune: there is one already"),
        ("prune.ratio=0.1,0.5", "expected one value, got 0.1,0.5; for a sweep over several add -m, for a list type"),
        ("sweep=null", "sweep: expected the name of a choice, got null; leave it out for its default"),
        ("init=3", "init: expected the name of a choice, got 3"),
        ("hydra.job.num=some", "hydra.job.num: Value 'some' of type 'str' could not be converted to Integer"),
    ],
    ids=lambda text: text[:18],
)
def test_what_cannot_be_meant_is_asked_about(word, meant):
    text = said("train", word)
    assert meant in text
    if "trainer" not in word:
        assert "+" + word not in text  # Hydra's advice to add what is misspelt


@pytest.mark.parametrize(
    ("script", "words", "meant"),
    [
        ("train", ["+expriment=smoke"], "+expriment: no such setting; did you mean experiment=smoke?"),
        ("train", ["+ratio=0.5"], "+ratio: no such setting; did you mean prune.ratio?"),
        ("evaluate", ["run=a", "+atack=fgsm"], "+atack: no such setting; did you mean attack=fgsm?"),
        ("evaluate", ["run=a", "+image=60"], "+image: no such setting; did you mean images?"),
        ("evaluate", ["run=a", "+networks.first=compact"], "+networks: no such setting; did you mean network?"),
        (
            "report",
            ["runs=a", "+smoothing=3"],
            "+smoothing: no such setting; report.py has output, paper, runs, suites",
        ),
        ("train", ["+experiment=smoke", "+trainer.precision_of_mine=1", "+callbacks.mine._target_=a"], None),
        ("detect", ["run=a", "source=b"], None),
        ("of_somebody", ["+more=1"], None),
    ],
    ids=str,
)
def test_what_is_added_by_a_plus_is_known_too(script, words, meant):
    known = "train" if script == "of_somebody" else script
    with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
        config = compose(known, [word.replace("+experiment", "experiment") for word in words])
    assert of_an_addition(config, script) == meant


def test_each_script_speaks_of_its_own_settings():
    assert said("report", "prune=kernel") == "prune: no setting of report.py, which has output, paper, runs, suites"
    assert said("report", "runz=a") == "runz: no such setting; did you mean runs?"
    assert said("detect", "sorce=a") == "sorce: no such setting; did you mean source?"
    assert said("evaluate", "suite=standart").endswith("did you mean suite=standard?")


@pytest.mark.parametrize("value", ["/a=b", "/a (1)/b", "/it's", 'a"b=c', "a=b\\", 'a\\"=b', "{a=b", "[a"])
def test_a_value_that_needs_quotes_is_shown_with_them(value):
    advice = quoted(f"store={value}")
    (word,) = shlex.split(advice)  # as a shell reads it
    assert OverridesParser.create().parse_override(word).value() == value
    with pytest.raises(HydraException):
        OverridesParser.create().parse_override(f"store={value}")
    assert said("train", f"store={value}").endswith(f"needs two kinds of quotes: {advice}")


@pytest.mark.parametrize("name", ["train", "evaluate", "detect", "compact", "report", "doctor"])
def test_shells_complete_the_words_of_a_script(name):
    for shell in ("bash", "fish"):  # their rules look for it in the text of a script
        assert "@hydra.main" in inspect.getsource(import_module(f"hydra._internal.core_plugins.{shell}_completion"))
    assert "@hydra.main" in (SCRIPTS / f"{name}.py").read_text()


def test_options_may_stand_anywhere():
    typed = ["train.py", "a=1", "-m", "b=1,2", "--config-dir", "c", "d=3"]
    assert options_first(typed) == ["train.py", "-m", "--config-dir", "c", "a=1", "b=1,2", "d=3"]


def test_a_setting_with_dashes_is_refused_in_one_line(caplog):
    with pytest.raises(SystemExit) as ended:
        options_first(["train.py", "--prune.ratio=0.5"])
    assert ended.value.code == 1
    assert "--prune.ratio=0.5: no such option; a setting has no dashes: prune.ratio=0.5" in caplog.text


def test_the_answer_is_given_and_the_switch_of_hydra_is_put_back(monkeypatch, caplog):
    monkeypatch.setattr(sys, "argv", ["report.py", "pape=true"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as ended:
        command("report")(lambda config: None)()
    assert ended.value.code == 1
    assert "error: pape: no such setting; did you mean paper?" in caplog.text
    assert "HYDRA_FULL_ERROR" not in os.environ
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(HydraException):  # who asks for the traceback has it
        command("report")(lambda config: None)()


def test_a_script_answers_in_one_line_and_still_shows_its_config(tmp_path):
    def run(*words):
        given = [sys.executable, str(SCRIPTS / "report.py"), *words]
        return subprocess.run(given, capture_output=True, text=True, cwd=tmp_path, check=False)

    wrong = run("runz=a")
    assert (wrong.returncode, wrong.stderr) == (1, "error: runz: no such setting; did you mean runs?\n")
    shown = run("--cfg", "job", "runs=a", "+more=1", "~paper")
    assert shown.returncode == 0
    assert "runs: a" in shown.stdout
    assert "more: 1" in shown.stdout
    assert "paper" not in shown.stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (
            ["model.weights=x.weights", "data=coco"],
            "model.weights: expected model= beside it, one of darknet, faster_rcnn, ",
        ),
        (["run=outputs/x", "data.root=a"], "data.root: expected data= beside it, one of bccd, coco, "),
        (["model=yolov3", "model.weigths=a"], "model.weigths: no such setting; did you mean model.weights?"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_a_part_of_something_that_was_not_chosen(words, meant):
    assert meant in said("evaluate", *words)
