"""Files of strangers run nothing: not as weights, not as networks, not as the folder of a run, not in a report."""

import ast
import contextlib
import dataclasses
import io
import os
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image

from hydra_det.compaction.files import WEIGHTS, load_compact
from hydra_det.data.formats.coco import read_coco
from hydra_det.engines.registry import in_engine
from hydra_det.engines.torch_engine import EXPORTED
from hydra_det.errors import InputError
from hydra_det.finished.run import FinishedRun
from hydra_det.pipeline import build
from hydra_det.pipeline.run_config import own_targets, read_run_config
from hydra_det.records.record import write_record
from hydra_det.reports.figures.drawings import draw_figures, draw_samples
from hydra_det.reports.figures.style import rendered
from hydra_det.reports.page.page import page
from hydra_det.reports.page.report import Report
from hydra_det.reports.runs import read_runs
from hydra_det.reports.statistics.cautions import cautions_of
from hydra_det.reports.statistics.cells import cell_table
from hydra_det.reports.statistics.comparisons import compare
from hydra_det.reports.tables.paper_tables import latex_escaped, write_tables
from tests.bad_input.test_pictures import EPS
from tests.fuzzing.readers import READERS, tiny
from tests.reports.example import grid_record
from tests.test_layers import imported_modules

PACKAGE = Path(__file__).parents[1] / "hydra_det"
# What runs code, or unpacks files, when it reads them.
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "zipfile", "tarfile", "joblib"}
EVIL = "<script>alert('&')</script>"
made: list[str] = []  # by what a hostile file names


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def touch(**_: object) -> None:
    """What a hostile config names."""
    made.append("something")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors", ".weights", ".pkl"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_weights_that_are_pickles_are_not_unpickled(suffix, form, tmp_path):
    marker, file = tmp_path / "marker", tmp_path / f"net{suffix}"
    file.write_bytes(pickle.dumps(Payload(marker)))
    if form == "torch":
        torch.save({"state_dict": Payload(marker)}, file)
    with pytest.raises(InputError, match=file.name):
        build.load(tiny(), file)
    assert not marker.exists()
    with contextlib.suppress(Exception):  # what it holds is no network; the marker shows that it does run code
        torch.load(io.BytesIO(file.read_bytes()), weights_only=False)
    assert marker.exists()


def test_a_compact_folder_with_a_pickle_is_refused(tmp_path):
    READERS["compact"].prepare(tmp_path / "compact")
    (tmp_path / "compact" / WEIGHTS).write_bytes(pickle.dumps(Payload(tmp_path / "marker")))
    with pytest.raises(InputError, match=WEIGHTS):
        load_compact(tmp_path / "compact")
    assert not (tmp_path / "marker").exists()


def test_an_exported_program_that_lies_there_is_not_opened(tmp_path):
    """torch unpickles parts of one; only what was written just now is opened."""
    images = torch.rand(2, 3, 64, 64)
    torch.save(Payload(tmp_path / "marker"), tmp_path / EXPORTED)
    forward, _ = in_engine("torch_export", tiny(), tmp_path, images, threads=1)
    with torch.no_grad():
        expected = tiny()(images)
    for want, got in zip(expected, forward(images), strict=True):
        torch.testing.assert_close(want, got)
    assert not (tmp_path / "marker").exists()


def run_with(folder: Path, key: str, target: str | None) -> Path:
    """The folder of a run in whose config somebody has named something else at a dotted key; None: as it was."""
    for name in ("run_config", "record"):
        READERS[name].prepare(folder)
    config = dict(build.read_yaml(folder / "config.yaml"))
    part = config
    for word in key.split("."):
        part = part.setdefault(word, {})
    if target is not None:
        part["_target_"] = target
    (folder / "config.yaml").write_text(build.to_yaml(config))
    return folder


@pytest.mark.parametrize("key", ["model", "data", "evaluation.attack", "trainer", "model.loss"])
def test_the_config_of_a_run_makes_nothing_that_is_not_ours(key, tmp_path):
    folder = run_with(tmp_path, key, f"{__name__}.touch")
    made.clear()
    with pytest.raises(InputError, match=rf"expected a class that .* name, got {__name__}\.touch; .*trust=\["):
        FinishedRun(folder)
    assert made == []
    assert read_run_config(folder / "config.yaml", trusted=[f"{__name__}.touch"])
    FinishedRun(run_with(tmp_path / "again", key, None))


def test_callbacks_of_a_finished_run_may_be_anything_and_are_never_made(tmp_path):
    made.clear()
    for key in ("callbacks.mine", "stage.pretrain.optimizer", "stage.finetune.callbacks.mine"):
        FinishedRun(run_with(tmp_path / key, key, f"{__name__}.touch"))
    assert made == []


@pytest.mark.parametrize("key", ["on", "3"])
def test_keys_that_are_no_names_are_refused(tmp_path, key):
    """They cannot be put in order beside names, as a fingerprint does."""
    folder = run_with(tmp_path, "data", None)
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("\ndata:\n", f"\ndata:\n  {key}: 1\n"))
    with pytest.raises(InputError, match=r"config\.yaml: data: expected names as keys, got (True|3); is it damaged\?"):
        FinishedRun(folder)


def test_a_class_of_ours_in_the_wrong_place_is_refused():
    other = {"_target_": "hydra_det.modules.yolo.loss.LossSettings"}
    with pytest.raises(InputError, match=r"data\._target_: expected a DetectionData, got LossSettings"):
        build.data({"data": other})
    with pytest.raises(InputError, match=r"model\._target_: expected a network, got LossSettings"):
        build.network(other)


def test_what_our_own_configs_name_is_ours_and_of_no_other_module():
    assert {"hydra_det.modules.yolo.yolov3.YOLOv3", "pytorch_lightning.Trainer"} <= own_targets()
    for name in own_targets() - {"pytorch_lightning.Trainer"}:
        assert build.target({"_target_": name}).__module__.startswith("hydra_det."), name


def test_links_that_the_user_made_are_followed(tmp_path):
    """A folder of images is often a link to another disk; only paths in annotation files must stay inside."""
    READERS["coco"].prepare(tmp_path / "set")
    (tmp_path / "set" / "images").rename(tmp_path / "disk")
    (tmp_path / "set" / "images").symlink_to(tmp_path / "disk")
    assert len(read_coco(tmp_path / "set", "coco.json", "images", name="train").records) == 1


def test_no_text_of_a_run_is_code_in_its_report(tmp_path):
    """Folders, failures, reasons why a record cannot be read, and names, on the page and in all tables and figures."""
    odd = "$\\evil{$ <script> & | \n\n{}%_~^#"
    for seed in range(2):
        for init in ("scaled", odd):
            record = grid_record("scaled, weight", 0.5, seed)
            record = dataclasses.replace(
                record, config={**record.config, "choices": {"init": init}}, overrides=[EVIL, odd]
            )
            write_record(tmp_path / f"{seed}<script>" / str(len(init)) / "record.json", record)
    for name, file in (("broken", "record.json"), ("failed", "failed.txt")):
        (tmp_path / f"<script>{name}").mkdir()
        (tmp_path / f"<script>{name}" / file).write_text(EVIL)
    runs = read_runs(tmp_path)
    assert runs.failures == {"<script>failed": EVIL}
    assert list(runs.problems) == ["<script>broken"]
    cells, comparisons = cell_table(runs.frame), compare(runs.records, runs.frame)
    cautions = cautions_of(runs.records, runs.problems, runs.frame, comparisons, failures=runs.failures, suites=[])
    pictures = rendered(draw_figures(runs, comparisons, paper=False))
    report = Report(runs=runs, cells=cells, comparisons=comparisons, cautions=cautions, pictures=pictures,
                    samples=draw_samples(runs))  # fmt: skip
    source = page(report)
    assert source.count("<script") == 1  # our own line
    assert EVIL not in source
    assert "&lt;script&gt;" in source
    assert not any(b"<script" in content for name, content in pictures.items() if name.endswith(".svg"))
    for path in write_tables(tmp_path / "out", runs.frame, cells, comparisons, report.answered):
        text = path.read_text()
        assert path.suffix != ".md" or "<script" not in text.replace("\\<", "")
        assert path.suffix != ".tex" or not any(line == "" for line in text.strip().splitlines())


def test_pictures_of_a_run_are_read_as_what_they_are_called(tmp_path):
    """As EPS one would start a program, and a strip would become a page as long as a house."""
    write_record(tmp_path / "run" / "record.json", grid_record("scaled, weight", 0.5, 0))
    folder = tmp_path / "run" / "pruned" / "samples"
    folder.mkdir(parents=True)
    (folder / "1_attacked.jpg").write_bytes(EPS)
    Image.new("L", (1, 9000)).save(folder / "1_clean.jpg")
    grids = draw_samples(read_runs(tmp_path))
    assert {name: grid.missing for name, grid in grids.items()} == {"attacked": 1, "clean": 1}
    assert all(len(grid.picture) < 20_000 for grid in grids.values())


def test_latex_shows_every_letter_and_runs_none():
    assert latex_escaped("50 % of $x_1$ \\input{a}\n\n~^#&") == (
        r"50 \% of \$x\_1\$ \textbackslash{}input\{a\} \textasciitilde{}\textasciicircum{}\#\&"
    )


def test_nothing_in_the_package_unpickles_or_unpacks():
    assert find_unsafe(PACKAGE) == []


@pytest.mark.parametrize("source", [
    "import pickle\npickle.loads(text)", "from pickle import loads", "import zipfile", "import torch\ntorch.load(path)",
    "import torch\ntorch.load(path, weights_only=False)", "torch.load(path, weights_only=flag)", "torch.jit.load(path)",
    "np.load(path, allow_pickle=True)", "yaml.load(text, Loader=yaml.Loader)", "yaml.unsafe_load(text)",
    "torch.hub.load('a', 'b')", "torch.export.load(file)", "eval(text)", "exec(text)", "pd.read_pickle(path)",
])  # fmt: skip
def test_what_would_is_found(source, tmp_path):
    (tmp_path / "a.py").write_text(source)
    assert len(find_unsafe(tmp_path)) == 1


def test_what_does_not_is_not_found(tmp_path):
    (tmp_path / "a.py").write_text(
        "import torch\ntorch.load(f, weights_only=True)\nyaml.safe_load(t)\nnet.eval()\njson.load(f)"
    )
    assert find_unsafe(tmp_path) == []


def find_unsafe(root: Path) -> list[str]:
    """Every import and call in the files below a folder that would run code, or unpack files, of what it reads."""
    found = []
    for path in sorted(root.rglob("*.py")):
        tree, file = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(root).as_posix()
        names = {name for _, name in imported_modules(tree, package=("hydra_det",))}
        found += [f"{file}: imports {name}" for name in sorted(names) if name.partition(".")[0] in UNSAFE - {"pickle"}]
        # Of pickle the name of its error alone is of use.
        used = {f"pickle.{node.attr}" for node in ast.walk(tree) if ast.unparse(node).startswith("pickle.")
                and isinstance(node, ast.Attribute)}  # fmt: skip
        used |= {name for name in names if name.startswith("pickle.")}
        found += [f"{file}: uses {name}" for name in sorted(used - {"pickle.UnpicklingError"})]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        found += [f"{file}:{call.lineno}: {ast.unparse(call)}" for call in calls if _is_unsafe(call, file)]
    return found


def _is_unsafe(call: ast.Call, file: str) -> bool:
    name = ast.unparse(call.func)
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name == "torch.load":
        return given.get("weights_only") != "True"
    if name == "torch.export.load":
        return file != "engines/torch_engine.py"  # of what it has written itself just before
    return name in {"eval", "exec", "compile", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.jit.load",
                    "torch.hub.load", "pd.read_pickle"} or given.get("allow_pickle") == "True"  # fmt: skip
