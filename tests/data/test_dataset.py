"""Samples by (epoch, index)."""

import torch

from hydra_det.data.dataset import collate
from hydra_det.data.sources import CocoData
from tests.data.conftest import Files


def augmented(files: Files) -> CocoData:
    return files.data(colour_jitter=0.4, crop_jitter=0.6)


def test_the_same_index_differs_between_epochs_only(files: Files) -> None:
    dataset = augmented(files).dataset("train", augment=True)
    first, again, later = dataset[(0, 3)], dataset[(0, 3)], dataset[(1, 3)]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], later[0])
    assert first[1]["image_id"] == later[1]["image_id"] == 4
    assert torch.equal(dataset[3][0], first[0]), "a bare index is epoch 0"
    # Equal windows and colours for all images of an epoch would show as equal letterboxes.
    assert len({dataset[(0, index)][1]["letterbox"] for index in range(10)}) > 5


def test_labels_go_with_the_boxes_that_stay(files: Files) -> None:
    # A second object in the far corner, of another class than the first of its image: crops lose one or the other.
    for number, entry in enumerate(list(files.train["annotations"])):
        other = {**entry, "id": 500 + number, "bbox": [40, 26, 8, 6], "category_id": 3 if number % 3 != 1 else 90}
        files.train["annotations"].append(other)
    data = augmented(files.write())
    dataset = data.dataset("train", augment=True)
    seen = set()
    for epoch in range(10):
        for index in range(10):
            target = dataset[(epoch, index)][1]
            assert len(target["boxes"]) == len(target["labels"])
            # The first object is 20 x 10 and the second at most 8 x 6, before both are magnified alike.
            both = data.splits["train"].records[index].labels.tolist()
            if len(target["labels"]) == 2:
                assert target["labels"].tolist() == both
            seen.add(tuple(both.index(label) for label in target["labels"].tolist()))
    assert {(0,), (1,), (0, 1)} <= seen


def test_collate_stacks_images_and_lists_targets(files: Files) -> None:
    dataset = files.data().dataset("test")
    batch = collate([dataset[0], dataset[1]])
    assert torch.equal(batch["images"][1], dataset[1][0])
    assert [target["image_id"] for target in batch["targets"]] == [21, 22]
