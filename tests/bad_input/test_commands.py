"""Bad input through the command line: one line, exit code 1, no results."""

import subprocess
import sys
from pathlib import Path

import pytest

from hydra_det.pipeline.build import SCRIPTS
from tests.fuzzing.readers import READERS

WRITTEN = {"failed.txt"}  # the reason, for whoever looks into the folder


def words(script: str, folder: Path) -> tuple[list[str], str]:
    """A command whose input in `folder` is wrong, and what it must say."""
    if script == "train":
        READERS["coco"].prepare(folder)
        (folder / "coco.json").write_text('{"images": [}')
        files = ["data.train_annotations=coco.json", "data.test_annotations=coco.json"]
        return ["data=coco", f"data.root={folder}", *files, f"store={folder / 'store'}"], "coco.json: expected JSON"
    if script == "detect":
        READERS["weights"].prepare(folder)
        (folder / "classes.txt").write_text("cat\ndog\n")
        (folder / "net.safetensors").write_bytes((folder / "net.safetensors").read_bytes()[:-10])
        (folder / "dog.jpg").write_bytes(b"")
        given = [f"names={folder / 'classes.txt'}", f"model.weights={folder / 'net.safetensors'}"]
        return [
            "model=yolov3_tiny",
            *given,
            f"source={folder / 'dog.jpg'}",
        ], "net.safetensors: expected a .safetensors file"
    READERS["record"].prepare(folder)
    if script == "report":
        (folder / "record.json").write_bytes(b"[" * 100_000)
        return [f"runs={folder}"], "record.json: expected the record of a run, not JSON"
    READERS["run_config"].prepare(folder)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("hydra_det.modules.yolo.yolov3.YOLOv3", "os.system"))
    return [f"run={folder}"], "model._target_: expected a class that hydra_det's own configs name, got os.system"


@pytest.mark.parametrize(
    "script", ["train", "report", *(pytest.param(name, marks=pytest.mark.slow) for name in ("detect", "evaluate"))]
)
def test_a_command_ends_with_one_line(script, tmp_path):
    (tmp_path / "in").mkdir()
    given, said = words(script, tmp_path / "in")
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *given, f"hydra.run.dir={tmp_path / 'out'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    left = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file() and ".hydra" not in path.parts}
    assert {name for name in left if not name.endswith(".log")} == WRITTEN
    assert said in (tmp_path / "out" / "failed.txt").read_text()
    assert not (tmp_path / "in" / "store").exists()
