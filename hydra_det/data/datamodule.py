"""The data as Lightning asks for it, and as the pipeline asks about it. Where it comes from is in `sources`."""

import copy
import logging
import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hydra_det.data.cache import PixelCache, reserve_caches
from hydra_det.data.checks.arguments import STRIDE, check_arguments
from hydra_det.data.checks.decoding import say_decoding
from hydra_det.data.checks.findings import Notes
from hydra_det.data.dataset import DetectionDataset, Sample, collate
from hydra_det.data.formats.splits import (
    Choice,
    at_most,
    check_classes,
    check_objects,
    check_overlap,
    choose_all,
    fingerprint,
    test_alone,
)
from hydra_det.data.loader import TimedLoader
from hydra_det.data.sampler import EpochSampler, sample_batches
from hydra_det.data.samples import Split, box_sizes
from hydra_det.data.transforms import Augmentation
from hydra_det.types import Batch, Target

log = logging.getLogger(__name__)


class DetectionData(pl.LightningDataModule, ABC):
    """Three splits of a detection data set; a subclass says how they are read.

    `seed` (order and augmentation) and `evaluation_passes` may be set until the loaders are made; neither changes the
    fingerprint. Order and augmentation depend on `seed` and the epoch only: not on `workers`, and not on a resume.

    Attributes:
        keep_going: set before anything is read, what would be refused is a finding and left out; for the doctor.
        testing: set before anything is read, there are test images alone; of a set that has no such images of its own,
            its validation images or else all it has.
        most_tested: set before anything is read, there are no more test images than that, chosen as by `test_images`.
    """

    TEST_KEY = "data.test"  # that names the test images, for messages
    keep_going = False
    testing = False
    most_tested: int | None = None

    def __init__(
        self,
        *,
        name: str,
        image_size: int,
        batch_size: int = 16,
        evaluation_batch_size: int | None = None,
        workers: int = 0,
        seed: int = 0,
        subset_seed: int = 0,
        train_images: int | None = None,
        val_images: int | None = 0,
        test_images: int | None = None,
        greyscale: bool = False,
        flip: float = 0.5,
        colour_jitter: float = 0.0,
        crop_jitter: float = 0.0,
        mosaic: float = 0.0,
        multi_scale: float = 0.0,
        cache_images: bool = True,
        strict: bool = False,
        allow_overlap: bool = False,
        split: float | None = None,
        decoded: str | None = None,
    ) -> None:
        """Nothing is read before it is needed.

        Args:
            name: a short word for folders and tables.
            image_size: side of the network input, pixels, a multiple of 32.
            batch_size: training images a step, per process; a last incomplete batch is left out.
            evaluation_batch_size: images a step in validation and test, `batch_size` by default.
            workers: processes that load images; 0 loads in the training process.
            seed: of order and augmentation.
            subset_seed: of the subsets and of what is held out.
            train_images: size of a random subset, None for all.
            val_images: held out of the training images (None: a tenth, at most 1000) when there are no validation
                annotations, else the size of a random subset of theirs (None: all).
            test_images: size of a random subset, None for all.
            greyscale: show the luminance only, in all splits.
            flip: probability of a mirror image.
            colour_jitter: strength of colour variation, see `Augmentation`.
            crop_jitter: strength of random crops, see `Augmentation`.
            mosaic: probability that a training sample is made of four images.
            multi_scale: each training batch has one of the sizes within this share of `image_size`, 0 its alone.
            cache_images: keep decoded images in memory if all of them fit in 2 GiB.
            strict: refuse what is otherwise mended and counted: boxes that reach outside or have no area, objects and
                images that are listed twice, label files of no image or of two, images whose label file is missing,
                files that name another image, splits without objects. What is left as it is (polygons, rounding,
                turned images, areas, groups) is counted only.
            allow_overlap: do not look for images that are in two splits.
            split: share of the images that is held out, by `subset_seed`, for validation and for testing, each where
                the set has no such images of its own. Equal files stay together.
            decoded: folder in which is remembered which images could be decoded; those of which that is not known are
                decoded before the first epoch. None: not looked at before they are used.
        """
        super().__init__()
        self.name = name
        self.image_size = image_size
        self.batch_size = batch_size
        self.evaluation_batch_size = batch_size if evaluation_batch_size is None else evaluation_batch_size
        self.workers = workers
        self.seed = seed
        self.subset_seed = subset_seed
        self.train_images, self.val_images, self.test_images = train_images, val_images, test_images
        self.greyscale = greyscale
        self.augmentation = Augmentation(flip, colour_jitter, crop_jitter, mosaic)
        self.multi_scale = multi_scale
        self.cache_images = cache_images
        self.strict, self.allow_overlap = strict, allow_overlap
        self.split = split
        self.decoded = decoded
        self.evaluation_passes = 1
        self._splits: dict[str, Split] | None = None
        self._fingerprints: dict[str, str] = {}
        self._caches: dict[str, PixelCache] = {}
        check_arguments({**self.__dict__, **self.augmentation._asdict()}, sizes=self.training_sizes)

    @abstractmethod
    def read(self) -> dict[str, Split]:
        """Read `train`, `test` and, where the set has one, `val`."""

    def prepare(self) -> None:
        """Read, check and choose everything; the second call does nothing."""
        if self._splits is not None:
            return
        splits = self.read()
        check_classes(splits)
        if not self.keep_going and not self.testing:
            check_objects(splits["train"])
        choose = test_alone if self.testing else choose_all
        splits = choose(splits, self._choice(), seed=self.subset_seed)
        if self.most_tested is not None:
            splits["test"] = at_most(splits["test"], self.most_tested, seed=self.subset_seed)
        if not self.allow_overlap and not self.keep_going:
            check_overlap(splits)
        self._splits = {split: splits[split] for split in ("train", "val", "test")}
        self._fingerprints = {name: fingerprint(split) for name, split in self._splits.items()}
        if self.cache_images:
            self._caches = reserve_caches(self._splits, name=str(self.name))
        if self.decoded is not None and not self.keep_going:
            say_decoding(self._splits, Path(self.decoded), name=str(self.name))
        log.info(self.summary())

    def notes(self, source: Path) -> Notes:
        """For what a reader finds in a file or folder."""
        return Notes(source, **self.reading)

    @property
    def reading(self) -> dict[str, bool]:
        """What a reader does about it."""
        return {"strict": self.strict, "keep_going": self.keep_going}

    def prepare_data(self) -> None:
        """Lightning's hook for one process a machine: what is written to disk is written once."""
        self.prepare()

    def setup(self, stage: str) -> None:
        self.prepare()

    @property
    def splits(self) -> dict[str, Split]:
        """`train`, `val` and `test`; `val` may be empty."""
        self.prepare()
        assert self._splits is not None
        return self._splits

    @property
    def class_names(self) -> list[str]:
        """By label."""
        return list(self.splits["train"].class_names)

    @property
    def category_ids(self) -> list[int]:
        """The data set's own category id, by label."""
        return list(self.splits["train"].category_ids)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of every split the sha256 of what the chosen images and annotations are, wherever they lie."""
        self.prepare()
        return dict(self._fingerprints)

    def ground_truth(self, split: str) -> dict[str, Any]:
        """A COCO-form dict of the chosen images of a split; a copy, since COCO's evaluation writes into it."""
        return copy.deepcopy(self.splits[split].ground_truth)

    def chosen_ids(self) -> dict[str, list[int]]:
        """The image ids of every split."""
        return {name: split.image_ids for name, split in self.splits.items()}

    def summary(self) -> str:
        """One line: how much there is of everything."""
        counts = [
            f"{name} {len(split.records)} images {sum(len(record.labels) for record in split.records)} boxes"
            for name, split in self.splits.items()
        ]
        return f"{self.name}: {', '.join(counts)}, {self.num_classes} classes, {self.image_size} px"

    def train_boxes(self) -> Tensor:
        """Width and height of all training boxes in pixels of the network input, without augmentation. [N, 2]"""
        return box_sizes(self.splits["train"].records, self.image_size)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Augmented images in a new order every epoch."""
        return self._loader("train", self.batch_size, training=True)

    def val_dataloader(self) -> list[DataLoader[Sample]]:
        """`evaluation_passes` loaders over the same images; none when there are no validation images."""
        passes = self.evaluation_passes if self.splits["val"].records else 0
        return [self._loader("val", self.evaluation_batch_size) for _ in range(passes)]

    def test_dataloader(self) -> list[DataLoader[Sample]]:
        """`evaluation_passes` loaders over the same images."""
        return [self._loader("test", self.evaluation_batch_size) for _ in range(self.evaluation_passes)]

    def sample_loader(self, images: int, *, batch_size: int) -> DataLoader[Sample]:
        """Training images without augmentation, drawn at random but the same in every call; this process's share."""
        dataset = self.dataset("train")
        chosen = sample_batches(len(dataset), images=images, batch_size=batch_size, seed=self.seed)
        return TimedLoader(
            dataset,
            batch_sampler=chosen,
            collate_fn=collate,
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(self.seed),  # of its own, as above all in `_loader`
        )

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Moves the tensors. Lightning's own search for them would copy all else, image by image."""
        targets = [
            Target(
                boxes=target["boxes"].to(device, non_blocking=True),
                labels=target["labels"].to(device, non_blocking=True),
                image_id=target["image_id"],
                letterbox=target["letterbox"],
            )
            for target in batch["targets"]
        ]
        return Batch(images=batch["images"].to(device, non_blocking=True), targets=targets)

    def dataset(self, split: str, *, augment: bool = False) -> DetectionDataset:
        """The samples of a split, one by one."""
        return DetectionDataset(
            self.splits[split].records,
            image_size=self.image_size,
            greyscale=self.greyscale,
            augmentation=self.augmentation if augment else None,
            seed=self.seed,
            cache=self._caches.get(split),
        )

    def training_sizes(self) -> list[int]:
        """The sides that a training batch can have: multiples of 32 within `multi_scale` of `image_size`."""
        least, most = ((1 + sign * self.multi_scale) * self.image_size / STRIDE for sign in (-1, 1))
        # Rounded first: 1.2 * 320 / 32 is 11.999999999999998 in floats for some shares.
        return [cells * STRIDE for cells in range(max(1, math.ceil(round(least, 6))), math.floor(round(most, 6)) + 1)]

    def _choice(self) -> Choice:
        counts = {"train": self.train_images, "val": self.val_images, "test": self.test_images}
        return Choice(counts, self.split, not self.allow_overlap, self.TEST_KEY, looks=self.keep_going)

    def _loader(self, split: str, batch_size: int, *, training: bool = False) -> DataLoader[Sample]:
        dataset = self.dataset(split, augment=training)
        sizes = self.training_sizes() if training and self.multi_scale else None
        sampler = EpochSampler(dataset, seed=self.seed, shuffle=training, sizes=sizes, batch_size=batch_size)
        return TimedLoader(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            drop_last=training and len(sampler) >= batch_size,
            # Of its own: drawing the workers' seeds from the global generator would move everything drawn after it.
            generator=torch.Generator().manual_seed(self.seed),
        )
