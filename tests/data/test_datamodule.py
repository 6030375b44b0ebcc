"""Splits, subsets, fingerprints and loaders of a data module."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hydra_det.data import datamodule
from hydra_det.data import loader as loading
from hydra_det.data.formats import splits
from hydra_det.data.loader import TimedLoader
from hydra_det.data.sampler import EpochSampler, SampleKey
from hydra_det.data.sources import CocoData
from hydra_det.types import Batch, InputError
from tests.data.conftest import Files

AUGMENTED = {"flip": 0.5, "colour_jitter": 0.4, "crop_jitter": 0.4}


def at_epoch(loader: DataLoader[Any], epoch: int) -> list[Batch]:
    assert isinstance(loader.sampler, EpochSampler)
    loader.sampler.set_epoch(epoch)
    return list(loader)


def batches(data: CocoData, epoch: int) -> list[Batch]:
    return at_epoch(data.train_dataloader(), epoch)


def same(left: list[Batch], right: list[Batch]) -> bool:
    if len(left) != len(right):
        return False
    return all(
        torch.equal(one["images"], other["images"])
        and all(
            a["image_id"] == b["image_id"] and a["letterbox"] == b["letterbox"] and torch.equal(a["boxes"], b["boxes"])
            for a, b in zip(one["targets"], other["targets"], strict=True)
        )
        for one, other in zip(left, right, strict=True)
    )


def test_batches_hold_images_and_targets(files: Files) -> None:
    data = files.data(flip=0.0)
    loaded = batches(data, 0)
    assert [len(batch["targets"]) for batch in loaded] == [4, 4], "the last incomplete batch is left out"
    assert loaded[0]["images"].shape == (4, 3, 64, 64)
    assert loaded[0]["images"].dtype == torch.float32
    target = loaded[0]["targets"][0]
    # 48 x 32 into 64: scaled by 4/3 to 64 x 43, 10 rows of padding above.
    expected = torch.tensor([[4 * 4 / 3, 5 * 43 / 32 + 10, 24 * 4 / 3, 15 * 43 / 32 + 10]])
    torch.testing.assert_close(target["boxes"], expected)
    assert target["labels"].dtype == torch.int64
    labels = {t["image_id"]: int(t["labels"][0]) for batch in loaded for t in batch["targets"]}
    assert all(label == (2, 0, 1)[(image_id - 1) % 3] for image_id, label in labels.items())


def test_a_set_smaller_than_a_batch_is_one_batch(files: Files) -> None:
    assert [len(batch["targets"]) for batch in batches(files.data(batch_size=16), 0)] == [10]


def test_neither_workers_nor_resume_nor_cache_change_anything(files: Files) -> None:
    straight = files.data(**AUGMENTED)
    loader = straight.train_dataloader()
    epochs = []
    for epoch in range(3):
        epochs.append(at_epoch(loader, epoch))
    assert not same(epochs[0], epochs[1])
    for options in ({}, {"cache_images": False}, {"workers": 2}, {"workers": 2, "cache_images": False}):
        assert same(batches(files.data(**AUGMENTED, **options), 2), epochs[2]), options
    assert not same(batches(files.data(**AUGMENTED, seed=1), 2), epochs[2])


def test_loading_leaves_the_global_generator_alone(files: Files) -> None:
    data = files.data(**AUGMENTED)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batches(data, 0)
    assert torch.equal(torch.rand(3), expected)


def test_evaluation_shows_all_images_unaugmented(files: Files) -> None:
    data = files.data(**AUGMENTED, val_images=3)
    (loader,) = data.test_dataloader()
    ids = [target["image_id"] for batch in loader for target in batch["targets"]]
    assert ids == [21, 22, 23, 24, 25]
    data.evaluation_passes = 2
    assert len(data.val_dataloader()) == 2
    clean, attacked = (list(made) for made in data.test_dataloader())
    assert same(clean, attacked)
    pixels = np.asarray(Image.open(files.root / "images" / "21.png"))
    (first, *_), *_ = [batch["images"] for batch in clean]
    assert abs(float(first[:, 10:53].mean()) - pixels.mean() / 255) < 0.01


def test_greyscale_in_all_splits(files: Files) -> None:
    data = files.data(**AUGMENTED, greyscale=True, val_images=2)
    loaders = [data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]
    for loader in loaders:
        for batch in loader:
            images = batch["images"]
            assert torch.equal(images[:, 0], images[:, 1])
            assert torch.equal(images[:, 0], images[:, 2])


def test_validation_is_held_out_and_subsets_are_nested(files: Files) -> None:
    data = files.data(val_images=3)
    ids = data.chosen_ids()
    assert len(ids["val"]) == 3
    assert sorted(ids["train"] + ids["val"]) == list(range(1, 11))
    assert ids["test"] == [21, 22, 23, 24, 25]
    small, smaller = (files.data(val_images=3, train_images=n, test_images=n).chosen_ids() for n in (4, 2))
    assert small["val"] == ids["val"]
    assert set(smaller["train"]) < set(small["train"]) < set(ids["train"])
    assert set(smaller["test"]) < set(small["test"])
    other = files.data(val_images=3, train_images=4, subset_seed=1).chosen_ids()
    assert other != small
    assert files.data(val_images=3, train_images=4, test_images=4, seed=1).chosen_ids() == small
    assert files.data(val_images=1, train_images=4).chosen_ids()["train"] == small["train"]


def test_no_validation_images_no_loaders(files: Files) -> None:
    data = files.data(val_images=0)
    assert data.splits["val"].records == []
    assert data.val_dataloader() == []


def test_a_tenth_is_held_out_where_nothing_is_said(files: Files) -> None:
    chosen = files.data(val_images=None).chosen_ids()
    assert (len(chosen["train"]), len(chosen["val"])) == (9, 1)


def test_no_more_is_held_out_than_one_can_watch(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    monkeypatch.setattr(splits, "MOST_HELD_OUT", 0)
    assert files.data(val_images=None).chosen_ids()["val"] == []


def test_validation_annotations_of_their_own(files: Files) -> None:
    content = dict(files.train)
    files.train = {**content, "images": content["images"][:6], "annotations": content["annotations"][:6]}
    files.write()
    validation = {**content, "images": content["images"][6:], "annotations": content["annotations"][6:]}
    (files.root / "val.json").write_text(json.dumps(validation))
    assert files.data(val_annotations="val.json", val_images=None).chosen_ids()["val"] == [7, 8, 9, 10]
    assert len(files.data(val_annotations="val.json", val_images=2).chosen_ids()["val"]) == 2


def test_ground_truth_is_of_the_chosen_images_and_a_copy(files: Files) -> None:
    data = files.data(test_images=2)
    truth = data.ground_truth("test")
    ids = data.chosen_ids()["test"]
    assert [image["id"] for image in truth["images"]] == ids
    assert [entry["image_id"] for entry in truth["annotations"]] == ids
    assert [category["id"] for category in truth["categories"]] == data.category_ids == [3, 7, 90]
    truth["annotations"][0]["ignore"] = 1
    assert "ignore" not in data.ground_truth("test")["annotations"][0]


def test_summary_and_boxes(files: Files) -> None:
    data = files.data(val_images=2)
    expected = "tiny: train 8 images 8 boxes, val 2 images 2 boxes, test 5 images 5 boxes, 3 classes, 64 px"
    assert data.summary() == expected
    sizes = data.train_boxes()
    torch.testing.assert_close(sizes, torch.tensor([[20 * 64 / 48, 10 * 43 / 32]]).expand(8, 2))


def test_fingerprint_is_of_the_content_alone(files: Files) -> None:
    original = files.data(val_images=2).fingerprints
    assert {name: len(digest) for name, digest in original.items()} == {"train": 64, "val": 64, "test": 64}
    assert files.data(val_images=2, seed=5, image_size=96, workers=1).fingerprints == original
    moved = files.root.rename(files.root.parent / "elsewhere")
    assert Files(moved, files.train, files.test).data(val_images=2).fingerprints == original


def change_box(files: Files) -> None:
    files.train["annotations"][0]["bbox"][0] += 1


def change_class_name(files: Files) -> None:
    files.train["categories"][0]["name"] = files.test["categories"][0]["name"] = "lynx"


def change_file(files: Files) -> None:
    with (files.root / "images" / "21.png").open("ab") as file:
        file.write(b"\0")


def change_file_name(files: Files) -> None:
    (files.root / "images" / "21.png").rename(files.root / "images" / "new.png")
    files.test["images"][0]["file_name"] = "new.png"


def changed_splits(before: CocoData, after: CocoData) -> set[str]:
    return {name for name in ("train", "val", "test") if before.fingerprints[name] != after.fingerprints[name]}


@pytest.mark.parametrize(
    ("change", "splits"),
    [
        (change_box, {"train"}),
        (change_class_name, {"train", "val", "test"}),
        (change_file, {"test"}),
        (change_file_name, {"test"}),
    ],
)
def test_fingerprint_follows_the_content(files: Files, change: Callable[[Files], None], splits: set[str]) -> None:
    original = files.data()
    original.prepare()
    change(files)
    assert changed_splits(original, files.write().data()) == splits


@pytest.mark.parametrize(
    ("options", "splits"),
    [({"train_images": 9}, {"train"}), ({"test_images": 4}, {"test"}), ({"val_images": 1}, {"train", "val"})],
)
def test_fingerprint_follows_the_choice(files: Files, options: dict[str, Any], splits: set[str]) -> None:
    assert changed_splits(files.data(), files.data(**options)) == splits


def test_shared_images_are_refused(files: Files) -> None:
    shutil.copy(files.root / "images" / "4.png", files.root / "images" / "23.png")
    with pytest.raises(InputError, match=r"4\.png \(train\) and .*23\.png \(test\) hold the same image"):
        files.data().prepare()
    files.data(allow_overlap=True).prepare()


def test_images_of_equal_length_are_not_taken_for_equal(files: Files) -> None:
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    for name, value in (("4", 10), ("23", 20)):
        Image.fromarray(pixels + np.uint8(value)).save(files.root / "images" / f"{name}.bmp")
    files.train["images"][3]["file_name"], files.test["images"][2]["file_name"] = "4.bmp", "23.bmp"
    data = files.write().data()
    assert {4, 23} <= {image_id for ids in data.chosen_ids().values() for image_id in ids}
    assert len({(files.root / "images" / f"{name}.bmp").stat().st_size for name in ("4", "23")}) == 1
    shutil.copy(files.root / "images" / "4.bmp", files.root / "images" / "23.bmp")
    with pytest.raises(InputError, match=r"hold the same image"):
        files.data().prepare()


def test_other_categories_in_the_test_file(files: Files) -> None:
    files.test["categories"][0]["name"] = "lynx"
    with pytest.raises(InputError, match=r"test: expected the 3 categories .* \(90, '(cat|lynx)'\)"):
        files.write().data().prepare()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"image_size": 100}, r"image_size: expected a multiple of 32, got 100; use 96"),
        ({"image_size": 0}, r"image_size: .* use 32"),
        ({"batch_size": 0}, r"batch_size: expected a value of at least 1"),
        ({"workers": -1}, r"workers"),
        ({"train_images": 0}, r"train_images"),
        ({"flip": 1.5}, r"flip: expected a value from 0 to 1, got 1.5"),
        ({"crop_jitter": 1.0}, r"crop_jitter"),
        ({"colour_jitter": -0.1}, r"colour_jitter"),
    ],
)
def test_bad_arguments(files: Files, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        files.data(**options)


@pytest.mark.parametrize("options", [{"train_images": 11}, {"val_images": 10}, {"test_images": 6}])
def test_more_images_than_there_are(files: Files, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"data\.\w+_images: expected (at most|fewer than) the \d+ .*, got \d+"):
        files.data(**options).prepare()


def test_files_are_read_once(files: Files) -> None:
    data = files.data(batch_size=5, **AUGMENTED)
    first = batches(data, 0)
    shutil.rmtree(files.root)
    data.prepare()
    data.setup("fit")
    assert same(batches(data, 0), first)
    with pytest.raises(InputError, match=r"21\.png: expected an image file, could not read it"):
        list(data.test_dataloader()[0])


def test_a_set_too_large_to_keep_is_decoded_each_time(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datamodule, "CACHE_LIMIT", 1000)
    data = files.data()
    assert data.dataset("train").cache is None
    assert files.data(cache_images=False).dataset("train").cache is None
    assert len(batches(data, 0)) == 2


def test_lightning_drives_the_epochs(files: Files) -> None:
    import pytorch_lightning as pl

    seen: list[list[int]] = []

    class Recorder(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
            seen.append([target["image_id"] for target in batch["targets"]])
            return self.weight.sum()

        def validation_step(self, batch: Batch, batch_index: int) -> None:
            assert batch["images"].shape[1:] == (3, 64, 64)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    options: dict[str, Any] = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False
    }  # fmt: skip
    data = files.data(val_images=2)
    pl.Trainer(max_epochs=2, accelerator="cpu", **options).fit(Recorder(), datamodule=data)
    expected = [
        [target["image_id"] for target in batch["targets"]]
        for epoch in range(2)
        for batch in batches(files.data(val_images=2), epoch)
    ]
    assert seen == expected


def test_a_batch_moves_whole(files: Files) -> None:
    data = files.data()
    batch = next(iter(data.train_dataloader()))
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved["images"].device.type == "meta"
    for before, after in zip(batch["targets"], moved["targets"], strict=True):
        assert (after["boxes"].device.type, after["labels"].device.type) == ("meta", "meta")
        assert set(after) == set(before)
        assert (after["image_id"], after["letterbox"]) == (before["image_id"], before["letterbox"])


def test_training_batches_of_other_sizes(files: Files) -> None:
    data = files.data(image_size=128, batch_size=2, multi_scale=0.5)
    assert data.training_sizes() == [64, 96, 128, 160, 192]
    loader = data.train_dataloader()
    shapes = set()
    for epoch in range(6):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            side = batch["images"].shape[-1]
            assert batch["images"].shape == (2, 3, side, side)
            assert {target["letterbox"].size for target in batch["targets"]} == {side}
            shapes.add(side)
    assert shapes == {64, 96, 128, 160, 192}
    assert {batch["images"].shape[-1] for batch in data.test_dataloader()[0]} == {128}


@pytest.mark.parametrize(("share", "sizes"), [(0.0, [320]), (0.1, [288, 320, 352]), (0.2, [256, 288, 320, 352, 384])])
def test_sizes_within_a_share(files: Files, share: float, sizes: list[int]) -> None:
    assert files.data(image_size=320, multi_scale=share).training_sizes() == sizes


@pytest.mark.parametrize(("size", "share", "enough"), [(320, 0.09, 0.1), (288, 0.1, 0.112), (64, 0.25, 0.5)])
def test_a_share_without_other_sizes_is_refused(files: Files, size: int, share: float, enough: float) -> None:
    with pytest.raises(InputError, match=f"data.multi_scale: expected at least {enough},"):
        files.data(image_size=size, multi_scale=share)
    assert len(files.data(image_size=size, multi_scale=enough).training_sizes()) == 3


def test_the_loader_knows_how_long_it_was_waited_for(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(loading.time, "perf_counter", lambda: now)
    data = files.data(batch_size=2)
    loader = data.train_dataloader()
    dataset = type(loader.dataset)
    plain = dataset.__getitem__

    def slow(self: Any, key: Any) -> Any:
        nonlocal now
        now += 2.0
        return plain(self, key)

    monkeypatch.setattr(dataset, "__getitem__", slow)
    for _ in loader:
        now += 100.0  # not waited for: this is the step
    assert isinstance(loader, TimedLoader)
    assert loader.waited == len(loader) * 2 * 2.0
    for _ in loader:
        break
    assert loader.waited == (len(loader) + 1) * 2 * 2.0


def test_a_sample_of_training_images_without_augmentation(files: Files) -> None:
    data = files.data(flip=1.0)
    dataset = data.dataset("train")
    samples = [dataset[SampleKey(0, item)] for item in range(len(dataset))]
    plain = {target["image_id"]: image for image, target in samples}
    made = list(data.sample_loader(5, batch_size=2))
    assert [len(batch["targets"]) for batch in made] == [2, 2, 1]
    for batch in made:
        for image, target in zip(batch["images"], batch["targets"], strict=True):
            assert torch.equal(image, plain[target["image_id"]])
    assert same(made, list(data.sample_loader(5, batch_size=2)))
