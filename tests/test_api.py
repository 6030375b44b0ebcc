"""The front door: what it offers, that it is lazy, and that docs/api.md and the examples run as they stand."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image, ImageOps
from torch import nn

import hydra_det
from hydra_det.boxes import Letterbox
from hydra_det.pipeline import build
from hydra_det.types import InputError
from tests.pipeline.tiny import compose

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `outputs/demo`, which is a tiny run, and a `photo.jpg`."""
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "demo").symlink_to(finished / "run")
    pixels = np.random.default_rng(0).integers(0, 256, size=(90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def net_with_masks(data: Any) -> Any:
    torch.manual_seed(0)
    return hydra_det.make_masked(hydra_det.build_network("yolov3_nano", data=data, width=0.125))


@pytest.fixture
def data(tmp_path: Path) -> hydra_det.DetectionData:
    return hydra_det.ShapesData(
        name="shapes", root=tmp_path / "shapes", canvas=64, image_size=64, train_size=10, val_images=2, test_size=4,
        batch_size=4,
    )  # fmt: skip


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, hydra_det; hydra_det.InputError; print(sorted({'torch', 'hydra', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_every_name_is_there_and_typed() -> None:
    tree = ast.parse((ROOT / "hydra_det" / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {(module, name) for module, names in hydra_det._OFFERED.items() for name in names}
    assert sorted(hydra_det.__all__) == sorted(name for _, name in typed)
    for name in hydra_det.__all__:
        assert getattr(hydra_det, name).__doc__ or name == "INITIALISERS", name
        assert name in dir(hydra_det)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = hydra_det.nonsense


def test_the_page_lists_what_is_offered() -> None:
    assert [name for name in hydra_det.__all__ if not re.search(rf"`{name}\b", PAGE)] == []


def test_the_page_runs_as_it_stands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    assert len(BLOCKS) > 10
    for block in BLOCKS:
        exec(compile(block, "docs/api.md", "exec"), namespace)
    assert {path.name for path in place.glob("*.png")} == {"boxes.png", "attacked.png"}
    assert "weights are removed" in capsys.readouterr().out


def test_the_example_runs_as_it_stands(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_images.py", "photo.jpg"])
    runpy.run_path(str(ROOT / "examples" / "own_images.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "photo.jpg: " in said
    assert "75% of" in said
    assert "by the run: AP" in said
    with Image.open(place / "outputs" / "example" / "attacked.png") as picture:
        assert picture.size == (120, 90)


def test_a_predictor_takes_a_file_an_image_and_an_array(place: Path) -> None:
    turned = Image.open("photo.jpg")
    turned.getexif()[0x0112] = 6  # to be turned by a quarter
    turned.save("turned.jpg", exif=turned.getexif(), quality=95)
    predict = hydra_det.Predictor.from_run(hydra_det.load_run("outputs/demo"), confidence=0.0)
    with Image.open("turned.jpg") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
        mirrored_twice = np.ascontiguousarray(upright[:, :, ::-1])[:, :, ::-1]  # as of OpenCV's BGR
        answers = [predict(one).clean for one in ("turned.jpg", Path("turned.jpg"), opened, upright, mirrored_twice)]
    assert answers[0].pixels.shape == (120, 90, 3)
    assert answers[0].objects, "nothing was found, so nothing is compared"
    for answer in answers[1:]:
        assert np.array_equal(answer.pixels, answers[0].pixels)
        assert answer.objects == answers[0].objects


@pytest.mark.parametrize("picture", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_an_array_that_is_no_picture_is_refused(place: Path, picture: np.ndarray) -> None:
    predict = hydra_det.Predictor.from_run(hydra_det.load_run("outputs/demo"))
    with pytest.raises(InputError, match="picture: expected a path, an image of Pillow, or an array"):
        predict(picture)


def test_a_predictor_leaves_the_masks_of_a_network_alone(place: Path) -> None:
    net = hydra_det.load_run("outputs/demo").network("pruned")
    before = hydra_det.sparsity(net)
    hydra_det.Predictor(net, class_names=["a"] * 6, image_size=64)("photo.jpg")
    assert hydra_det.sparsity(net) == before


def test_an_attack_stays_in_its_ball_and_raises_the_loss(data: hydra_det.DetectionData) -> None:
    torch.manual_seed(0)
    net: Any = hydra_det.build_network("yolov3_nano", data=data, width=0.125).train()
    with torch.no_grad():  # untrained, its heads hardly see the image
        for head in (module for module in net.modules() if isinstance(module, nn.Conv2d) and module.bias is not None):
            head.weight.mul_(100)
    batch = next(iter(data.sample_loader(4, batch_size=4)))
    images, plain = batch["images"], [{"boxes": t["boxes"], "labels": t["labels"]} for t in batch["targets"]]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    moved = hydra_det.attack(net, images, plain, hydra_det.PGD(epsilon=8 / 255, step_size=2 / 255, steps=4))
    assert 0 < (moved - images).abs().max() <= 8 / 255 + 1e-6
    assert net.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    net.eval()
    with torch.no_grad():
        clean, attacked = (net.losses(net(view), batch["targets"]).total for view in (images, moved))
    assert (attacked > clean).all()


def test_an_attack_leaves_padding_alone_where_a_target_says_where_it_is(data: hydra_det.DetectionData) -> None:
    net = hydra_det.build_network("yolov3_nano", data=data, width=0.125)
    images, empty = torch.full((1, 3, 64, 64), 0.5), torch.zeros(0)
    wide = Letterbox(size=64, height=32, width=64)
    target = {"boxes": empty.reshape(0, 4), "labels": empty, "letterbox": wide}
    moved = hydra_det.attack(net, images, [target], hydra_det.FGSM(epsilon=0.1))
    outside = ~wide.content_mask()
    assert torch.equal(moved[..., outside], images[..., outside])
    assert (moved[..., ~outside] != images[..., ~outside]).any()


def test_only_the_padding_that_is_named_is_left_alone(data: hydra_det.DetectionData) -> None:
    net = hydra_det.build_network("yolov3_nano", data=data, width=0.125)
    images = torch.full((2, 3, 64, 64), 0.5)
    wide = Letterbox(size=64, height=32, width=64)
    empty: dict[str, Any] = {"boxes": [], "labels": []}
    moved = hydra_det.attack(net, images, [{**empty, "letterbox": wide}, empty], hydra_det.FGSM(epsilon=0.1)) != images
    outside = ~wide.content_mask()
    assert not moved[0][:, outside].any()
    assert moved[1][:, outside].any()


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ([], "targets: expected one for each of 1 images, got 0"),
        ([{"labels": [0]}], r"targets\[0\]: expected boxes and labels, got no boxes"),
        ([{"boxes": [[0, 0, 1, 1]], "labels": []}], r"targets\[0\]: expected a label for each of 1 boxes, got 0"),
        ([{"boxes": [[0, 0, 1, 1]], "labels": [6]}], r"targets\[0\]: expected labels below 6"),
        (
            [{"boxes": [], "labels": [], "letterbox": Letterbox(size=96, height=1, width=1)}],
            r"targets\[0\]: expected a letterbox of 64 px, got 96",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(data: hydra_det.DetectionData, targets: list[Any], said: str) -> None:
    net = hydra_det.build_network("yolov3_nano", data=data, width=0.125)
    with pytest.raises(InputError, match=said):
        hydra_det.attack(net, torch.rand(1, 3, 64, 64), targets, hydra_det.FGSM())


def test_pruning_keeps_the_largest_weights_of_every_layer(data: hydra_det.DetectionData) -> None:
    net = net_with_masks(data)
    hydra_det.initial_scores(net)
    hydra_det.prune(net, 0.75)
    for layer in hydra_det.sparsity(net)["layers"]:
        weight, mask = net.get_submodule(layer["name"]).weight, net.get_submodule(layer["name"]).mask
        keep = weight.numel() - round(0.75 * weight.numel())
        assert layer["kept"] == keep
        threshold = weight.detach().abs().flatten().sort(descending=True).values[keep - 1]
        assert torch.equal(mask, weight.abs() >= threshold)


def test_a_pruned_network_compacts_to_one_that_answers_the_same(data: hydra_det.DetectionData) -> None:
    net = net_with_masks(data)
    hydra_det.initial_scores(net)
    hydra_det.prune(net, 0.5, "filter_group")
    small = hydra_det.compact(net).network
    images = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        for wanted, found in zip(net.eval()(images), small(images), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert sum(p.numel() for p in small.parameters()) < 0.6 * sum(layer.weight.numel() for layer in net.modules()
                                                                  if hasattr(layer, "mask"))  # fmt: skip


def test_a_ratio_that_leaves_no_network_changes_nothing(data: hydra_det.DetectionData) -> None:
    net = net_with_masks(data)
    hydra_det.initial_scores(net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(InputError):
        hydra_det.prune(net, 0.999, "kernel", "global")
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_images_that_come_once_are_kept_for_the_second_look(data: hydra_det.DetectionData) -> None:
    batches = list(data.sample_loader(8, batch_size=4))
    found = []
    for given in (batches, iter(batches)):
        net = net_with_masks(data)
        found.append(hydra_det.initial_scores(net, given, "deeplift_paper", reference="mean", images=8).layers)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_scores_of_what_an_attack_changes(data: hydra_det.DetectionData) -> None:
    batches, attack = list(data.sample_loader(8, batch_size=4)), hydra_det.PGD(epsilon=0.05, steps=2)
    net = net_with_masks(data)
    found = hydra_det.initial_scores(net, batches, "deeplift", attack=attack, images=8)
    assert (found.facts["reference"], found.facts["attacked"], found.facts["images"]) == ("clean", True, 8)
    with pytest.raises(hydra_det.InputError, match=r"init\.attacked: expected an attack, got none"):
        hydra_det.initial_scores(net, batches, "deeplift", images=8)


def test_scores_look_at_the_images_that_are_given(data: hydra_det.DetectionData) -> None:
    net = net_with_masks(data)
    seen: list[int] = []

    def batches() -> Any:
        for batch in data.sample_loader(8, batch_size=8):
            seen.extend(target["image_id"] for target in batch["targets"])
            yield batch

    found = hydra_det.initial_scores(net, batches(), "snip", images=6, micro_batch=4)
    assert found.facts["images"] == 6
    assert len(seen) == 8, "one batch of eight, of which six are looked at"
    for name, scores in found.layers.items():
        assert torch.equal(net.get_submodule(name).scores, scores)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (hydra_det.sparsity, r"expected masked layers, got none; call make_masked"),
        (hydra_det.initial_scores, r"expected masked layers, got none; call make_masked"),
        (lambda net: hydra_det.prune(hydra_det.make_masked(net), 0.5), "expected masked layers with scores, got none"),
        (lambda net: hydra_det.prune(net, 0.5, allocation="learned"), "got allocation=learned"),
        (lambda net: hydra_det.prune(net, 0.5, exclude=["heads"]), "give them to make_masked"),
        (lambda net: hydra_det.prune(net, 1.0), r"expected a fraction removed in \[0, 1\), got 1.0"),
        (lambda net: hydra_det.initial_scores(hydra_det.make_masked(net), init="deeplifft"), "expected one of scaled"),
        (lambda net: hydra_det.initial_scores(hydra_det.make_masked(net), init="snip"), "got none; take more"),
        (
            lambda net: hydra_det.initial_scores(hydra_det.make_masked(net), init="snip", attack=hydra_det.FGSM()),
            "attack: expected attacked=True beside it",
        ),
        (
            lambda net: hydra_det.initial_scores(hydra_det.make_masked(net), cast(Any, None), "deeplift"),
            r"batches: expected images, .*sample_loader.*, got None",
        ),
        (
            lambda net: hydra_det.evaluate(net, cast(Any, "shapes")),
            "data: expected a data module such as .*, got 'shapes'",
        ),
        (lambda net: hydra_det.Predictor.from_run("nowhere"), "expected the folder of a finished run, got nowhere"),
        (
            lambda net: hydra_det.Predictor(net, class_names=["a"], image_size=64),
            "class_names: expected the names of the 6 classes of the network, got 1",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(data: hydra_det.DetectionData, work: Any, said: str) -> None:
    net = hydra_det.build_network("yolov3_nano", data=data, width=0.125)
    with pytest.raises(InputError, match=said):
        work(net)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            {"name": "yolov3_tini", "num_classes": 2},
            "expected a network among .*did you mean yolov3_tiny",
        ),
        ({"name": "yolov3_tiny"}, "num_classes: expected how many classes"),
        (
            {"name": "yolov3_nano", "num_classes": 2},
            "model.anchors: expected those that the weights were trained with, or data",
        ),
        ({"name": "yolov3_tiny", "num_classes": 2, "widht": 1}, "expected its own settings, got widht=1; did you mean"),
        ({"name": "yolov3_tiny", "num_classes": 2, "weights": "no.weights"}, "no.weights"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(words: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        hydra_det.build_network(**words)


def test_a_network_is_the_one_that_the_scripts_build() -> None:
    config = compose(["model=yolov3_tiny"])["model"]
    wanted: Any = build.network({key: part for key, part in config.items() if part is not None} | {"num_classes": 3})
    made: Any = hydra_det.build_network("yolov3_tiny", num_classes=3)
    shapes = [{name: tensor.shape for name, tensor in net.state_dict().items()} for net in (made, wanted)]
    assert shapes[0] == shapes[1]
    assert torch.equal(made.anchors, wanted.anchors)


def test_a_network_is_built_inside_of_another_program_of_hydra() -> None:
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        hydra_det.build_network("yolov3_tiny", num_classes=3)
        assert GlobalHydra.instance().hydra is before
        assert hydra.compose("train").seed == 0


def test_data_and_a_number_of_classes_that_contradict_are_refused(data: hydra_det.DetectionData) -> None:
    with pytest.raises(InputError, match="num_classes: expected the 6 of the data, or none, got 5"):
        hydra_det.build_network("yolov3_nano", data=data, num_classes=5)


def test_scores_introduce_themselves_in_a_line(data: hydra_det.DetectionData) -> None:
    net = net_with_masks(data)
    found = hydra_det.initial_scores(net)
    count = hydra_det.sparsity(net)["total"]
    assert repr(found) == f"InitialScores({count} scores in {len(found.layers)} layers, facts={{}})"


def test_evaluate_says_nothing_of_devices_and_services(place: Path) -> None:
    code = (
        "import hydra_det; run = hydra_det.load_run('outputs/demo'); "
        "print(hydra_det.evaluate(run.network('pruned'), run.data)['attacked'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place)
    assert done.stdout == "None\n"
    assert [line for line in done.stderr.splitlines() if "a weak attack" not in line] == []


def test_evaluate_gives_what_the_record_says(place: Path) -> None:
    run = hydra_det.load_run("outputs/demo")
    net = run.network("pruned")
    attack = hydra_det.PGD(epsilon=0.05, step_size=0.02, steps=2)
    assert run.config["evaluation"]["attack"]["steps"] == 2
    found = hydra_det.evaluate(net, run.data, attack, seed=run.config["evaluation"]["attack_seed"])
    wanted = run.record.metrics["pruned"]
    assert found["clean"]["coco"] == wanted["clean"]["coco"]
    assert found["attacked"] is not None
    assert wanted["attacked"] is not None
    assert found["attacked"]["coco"] == wanted["attacked"]["coco"]
    assert hydra_det.sparsity(net)["pruned"], "the network keeps its masks"
    assert hydra_det.evaluate(net, run.data)["attacked"] is None
    assert run.data.evaluation_passes == 1, "as it was before"
