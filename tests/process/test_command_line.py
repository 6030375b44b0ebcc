"""The scripts as processes: sweeps, exit codes, and what is said about bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from hydra_det.pipeline.build import SCRIPTS, read_yaml
from hydra_det.types import InputError
from tests.pipeline.tiny import arguments, run


def script(*words: str, name: str = "train") -> list[str]:
    return [sys.executable, str(SCRIPTS / f"{name}.py"), *words]


def outputs(folder: Path) -> list[str]:
    return [f"hydra.run.dir={folder / 'run'}", f"hydra.sweep.dir={folder / 'sweep'}"]


def test_a_sweep_shares_stages_goes_past_a_failing_job_and_says_so(tmp_path):
    # A layer that is not there is seen when the network is made, not before the sweep as a wrong value is.
    words = ["-m", *arguments(tmp_path), *outputs(tmp_path), "prune.ratio=0.25,0.5", "prune.exclude=[],[nowhere]"]
    folder = "{}_shapes_yolov3_tiny_scaled_weight_{}_seed0"
    done = subprocess.run(script(*words), capture_output=True, text=True, check=False, cwd=tmp_path)
    shown = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in shown
    assert f"2 of 4 jobs failed: {folder.format(1, 0.25)}; {folder.format(3, 0.5)}" in " ".join(shown.split())
    assert f" error: {folder.format(1, 0.25)}: prune.exclude: expected the start of a layer's name" in done.stderr
    summary = pd.read_csv(tmp_path / "sweep" / "summary.csv")
    assert sorted(summary["ratio"]) == [0.25, 0.5]
    stages = [path.name.split("-")[0] for path in (tmp_path / "store").iterdir()]
    assert stages.count("pretrain") == stages.count("init_scores") == 1
    assert stages.count("finetune") == 2
    assert not (tmp_path / "sweep" / folder.format(1, 0.25) / "record.json").exists()

    finished = f"run={tmp_path / 'sweep' / folder.format(0, 0.25)}"
    words = [finished, "network=pruned", "attack=noise", f"hydra.run.dir={tmp_path / 'evaluation'}"]
    done = subprocess.run(script(*words, name="evaluate"), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Attacked: noise" in done.stdout
    evaluation = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    assert (evaluation["network"], evaluation["attack"]["name"]) == ("pruned", "noise")
    assert evaluation["metrics"]["attacked"]["coco"]["map"] is not None


def study(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    typed = [
        "sweep=optuna_front",
        *arguments(folder),
        *outputs(folder),
        "hydra.sweeper.n_trials=3",
        "init=scaled",
        *words,
    ]
    return subprocess.run(script(*typed), capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.slow
def test_a_study_goes_past_a_failing_run_names_it_and_goes_on_when_typed_again(tmp_path):
    words = ["prune.allocation=uniform", "prune.ratio=choice(0.5,0.75,1.5)", "hydra.sweeper.sampler.seed=3"]
    done = study(tmp_path, *words)
    shown = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "Traceback" not in shown
    assert "Got 'prune.ratio: expected a fraction removed in [0, 1), got 1.5'" in shown
    assert "of 3 jobs failed: " in shown
    records = {path: path.read_text() for path in (tmp_path / "sweep").glob("*/record.json")}
    assert 1 <= len(records) <= 2
    solutions = read_yaml(tmp_path / "sweep" / "optimization_results.yaml")["solutions"]
    found = {
        (record["metrics"]["pruned"]["attacked"]["coco"]["map"], record["sizes"]["compact"]["file_bytes"] / 1e6)
        for record in map(json.loads, records.values())
    }
    assert {tuple(solution["values"]) for solution in solutions} <= found
    assert (tmp_path / "sweep" / "front.png").is_file()
    study(tmp_path, *words)
    assert {path: path.read_text() for path in (tmp_path / "sweep").glob("*/record.json")} == records


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["objectives=[map,megabytes]"], "error: objectives: expected a list of some of map_clean, map_attacked"),
        pytest.param(
            ["dry_run=true"], "error: dry_run: expected false beside objectives, got true", marks=pytest.mark.slow
        ),
    ],
    ids=str,
)
def test_a_study_that_cannot_be_is_refused_before_its_first_run(tmp_path, words, said):
    done = study(tmp_path, *words)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "sweep" / "optimization_results.yaml").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_stopped_run_goes_on_from_its_last_checkpoint(tmp_path, sent, code):
    words = script(*arguments(tmp_path), *outputs(tmp_path), "stage.pretrain.epochs=30")
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A program that is started in the background is told to ignore Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads yet
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "store").glob("pretrain-*.partial/last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(sent)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in said
    assert ("interrupted; the same command goes on" in said) == (sent == signal.SIGINT)
    assert not list((tmp_path / "store").glob("*/stage.json"))
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pretrain: goes on from" in done.stderr
    assert json.loads((tmp_path / "run" / "record.json").read_text())["stages"][0]["name"] == "pretrain"


@pytest.mark.slow
def test_two_processes_train_one_network_and_one_of_them_speaks(tmp_path):
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2"]
    words = script(*arguments(tmp_path), *outputs(tmp_path), *two, "init=deeplift", "init.images=10")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.count("finetune: starts") == 1
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["stages"][1]["facts"]["images"] == 10, "of both processes together"
    assert not any(stage["reused"] for stage in record["stages"])
    # Every image is scored, and none twice.
    detections = json.loads((tmp_path / "run" / "pruned" / "detections_clean.json").read_text())
    assert len({detection["image_id"] for detection in detections}) == 6
    assert len({json.dumps(detection) for detection in detections}) == len(detections)


# What is typed -> what is said.
BAD_INPUT = {
    "prune.ratio=1.0": "prune.ratio: expected a fraction removed in [0, 1), got 1.0",
    "prune.ratio=-0.1": "prune.ratio: expected a fraction removed in [0, 1), got -0.1",
    "attack.epsilon=-0.01": "attack.epsilon: expected a distance in [0, 1]",
    "attack.steps=0": "attack.steps: expected a whole number of at least 1, got 0",
    "attack.step_size=0": "attack.step_size: expected a distance in (0, 1], got 0",
    "data.image_size=100": "data.image_size: expected a multiple of 32",
    "stage.pretrain.attacked_share=2": "attacked_share: expected a share of the batches in [0, 1], got 2",
    "model.loss.box_loss=iou": "model.loss.box_loss: expected one of ciou, mse, got 'iou'",
    "model.weights=nowhere.safetensors": "nowhere.safetensors: expected a .safetensors file",
    "prune.granularity=filters": "hybrid, got 'filters'",
    "prune.exclude=[nowhere]": "prune.exclude: expected the start of a layer's name, got 'nowhere'",
    "trainer.accelerator=abacus": "abacus",
    "trainer.inference_mode=true": "trainer.inference_mode: expected false",
    "trainer.precision=bf16-true": "trainer.precision: expected auto, 32-true, bf16-mixed or 16-mixed, got bf16-true",
    "+trainer.fast_dev_run=true": "trainer.fast_dev_run: expected nothing, as the pipeline sets it, got True",
    "+trainer.max_epochs=1": "set stage.pretrain.epochs",
    "+prune.ration=0.5": "; did you mean ratio?",
    "+modle=yolov3": "modle: expected one of seed, ",
    "+expriment=smoke": "; did you mean experiment?",
    "+data.image_sise=64": "got image_sise=64; did you mean image_size?",
    "+attack.epsilom=0.9": "PGD: expected its own settings, got epsilom=0.9; did you mean epsilon?",
    "prune.ratio=abc": "prune.ratio: expected a fraction removed in [0, 1), got abc",
    "stage.pretrain.epochs=-1": "stage.pretrain.epochs: expected a whole number of at least 0, got -1",
    "stage.train_scores.epochs=2.5": "stage.train_scores.epochs: expected a whole number of at least 0, got 2.5",
    "store=/dev/null": "store: expected a folder, got /dev/null, but /dev/null is a file",
    "data.train_images=5000": "data.train_images: expected at most the 16 images that there are",
    "+trainer.limit_test_batches=2": "trainer.limit_test_batches: expected 1.0, got 2",
    "+trainer.limit_val_batches=0.5": "trainer.limit_val_batches: expected 0, got 0.5",
    "model.nms.confidence=0.5": "model.nms.confidence: expected a floor in [0, 0.001] as for COCO, got 0.5",
    "model.nms.iou=7": "model.nms.iou: expected an overlap in (0, 1], got 7",
    "model.nms.max_detections=50": "model.nms.max_detections: expected at least 100",
}


@pytest.mark.parametrize(("typed", "said"), BAD_INPUT.items(), ids=list(BAD_INPUT))
def test_bad_input_is_refused_before_anything_is_trained(tmp_path, tmp_path_factory, typed, said):
    with pytest.raises(InputError) as refused:
        run(tmp_path, f"data.root={tmp_path_factory.getbasetemp() / 'shapes'}", typed)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "run" / "record.json").exists()


def test_weights_of_another_network_are_refused(tmp_path, tmp_path_factory):
    from safetensors.torch import save_file

    from hydra_det.modules.yolo.yolov3 import YOLOv3

    file = tmp_path / "other.safetensors"
    save_file(YOLOv3(num_classes=6, width=0.25, depth=0.125).state_dict(), file)
    with pytest.raises(InputError, match="is this the file of a network of another width"):
        run(
            tmp_path,
            f"data.root={tmp_path_factory.getbasetemp() / 'shapes'}",
            f"model.weights={file}",
            "model=yolov3_nano",
        )
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=coco"], "data.root: expected a value, got none"),
        (["+expriment=smoke"], "+expriment: no such setting; did you mean experiment=smoke?"),
        (["prune.ratio=75"], "got 75; did you mean 0.75?"),  # of a constructor, whose error comes wrapped
        pytest.param(["init=magic"], "init: expected one of deeplift, ", marks=pytest.mark.slow),
    ],
    ids=["no root", "misspelt addition", "percentage", "unknown init"],
)
def test_the_process_ends_with_one_line_and_not_with_a_traceback(tmp_path, words, said):
    done = subprocess.run(
        script(*words, *outputs(tmp_path)), capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300
    )
    shown = done.stdout + done.stderr
    assert done.returncode != 0
    assert said in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "outputs" / "store").exists()


@pytest.mark.slow
def test_an_image_that_breaks_in_a_loading_process_is_one_line_too(tmp_path):
    run(tmp_path, "stage.pretrain.epochs=0", name="first")
    broken = next((tmp_path / "shapes").rglob("images/train/*.png"))
    for file in broken.parent.iterdir():
        # As a drive spoils it: size and time of change say that it is the file that could be decoded.
        before, content = file.stat(), file.read_bytes()
        file.write_bytes(content[:200] + b"\xff" * (len(content) - 200))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    words = [*arguments(tmp_path), *outputs(tmp_path), "data.workers=1", "data.cache_images=false"]
    done = subprocess.run(script(*words), capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "expected an image file, could not read it" in error
    assert "Traceback" not in done.stdout + done.stderr
    assert error.endswith((tmp_path / "run" / "failed.txt").read_text().strip())


@pytest.mark.slow
def test_the_doctor_names_shared_images_and_shows_pictures(tmp_path):
    run(tmp_path, "stage.pretrain.epochs=0", name="first")
    train, test = (next((tmp_path / "shapes").rglob(f"images/{split}/000001.png")) for split in ("train", "test"))
    test.write_bytes(train.read_bytes())
    data = [word for word in arguments(tmp_path) if word.startswith("data.")]
    done = subprocess.run(
        script(*data, "sheet=3", name="doctor"), capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert "problems: 1" in shown
    assert "in two splits: " in shown
    assert "red circle" in shown
    assert {path.name for path in tmp_path.glob("outputs/doctor/*_shapes/*.png")} == {
        "train.png",
        "val.png",
        "test.png",
    }
