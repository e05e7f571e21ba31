"""The splits of a run and their loaders."""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from src.config.schema.data import AugmentConfig, DataConfig
from src.config.schema.training import DebugConfig
from src.data.augment.recipe import Recipe, eval_recipe, train_recipe
from src.data.coco.index import CocoIndex, load_index
from src.data.dataset import BatchLoader
from src.data.device.copying import DeviceSide
from src.data.errors import DataError
from src.data.frames import Frames
from src.data.loader import split_loader
from src.data.order import EpochBatchSampler
from src.data.sampler import epoch_length, expected_draws
from src.data.source import Source, class_mismatch, locate
from src.data.split import CALIBRATION_STREAM, Split, fingerprint, split_train
from src.data.store.choice import store_spec
from src.data.store.shards import StoreFrames, open_store, store_folder
from src.data.tar.frames import TarFrames, open_tars
from src.data.targets import Selection, select_targets


class MultiLabelDataModule(pl.LightningDataModule):
    """Splits ``train``, ``holdout`` (where data.holdout > 0) and ``val``, and loaders over them."""

    def __init__(
        self,
        data: DataConfig,
        augment: AugmentConfig,
        debug: DebugConfig,
        *,
        seed: int,
        cache_dir: Path,
        num_workers: int,
        pin_memory: bool = False,
        val_curve: bool = False,
        cache_note: str = "",
    ) -> None:
        """Store the settings; ``setup`` does the work.

        Args:
            data: which images, which labels; image_size is decided, not 0.
            augment: training augmentation.
            debug: overfitting and permuted targets.
            seed: run seed of split, limit, order and augmentation.
            cache_dir: for the label index and the built-in sample.
            num_workers: loader processes; results do not depend on it.
            pin_memory: copy batches to page-locked memory, for CUDA.
            val_curve: let ``val_dataloader`` bring val beside the monitor split.
            cache_note: what training reads its pixels from, and why, for the banner.
        """
        super().__init__()
        self._data = data
        self._augment = augment
        self._debug = debug
        self._seed = seed
        self._cache_dir = cache_dir
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self.val_curve = val_curve
        self.cache_note = cache_note
        self._splits: dict[str, Split] = {}
        self._counts: dict[str, int] = {}
        self._resume = (0, 0)
        self._store: StoreFrames | None = None
        self._device_side = DeviceSide(data, train=lambda: self._of("train"), store=lambda: self._prepared("train"))
        self.train_order: EpochBatchSampler | None = None

    def setup(self, stage: str | None = None) -> None:
        """Find the data, index it and split it; a second call does nothing.

        Raises:
            DataError: no usable data, or train and val disagree.
        """
        if self._splits:
            return
        self.source: Source = locate(self._data, cache_dir=self._cache_dir)
        train_files = None if self._data.shards else self.source.train_images
        train_index, train = self._select(self.source.train_annotations, train_files)
        val_index, val = self._select(self.source.val_annotations, self.source.val_images)
        if val.class_names != train.class_names:
            raise DataError(class_mismatch(self.source, train.class_names, val.class_names))
        self.class_names: tuple[str, ...] = train.class_names
        whole = Split(train_index, self.source.train_images, train.rows, train.targets, self._tars(train_index))
        kept = self._cache_dir / "shards" / "kept"
        self._splits = split_train(whole, self._data, self._debug, seed=self._seed, kept=kept)
        self._splits["val"] = Split(val_index, self.source.val_images, val.rows, val.targets)
        self._counts = {f"{name}_images": len(split.rows) for name, split in self._splits.items()}
        for name, selection in (("train", train), ("val", val)):
            self._counts[f"{name}_dropped_empty"] = selection.dropped_empty
            self._counts[f"{name}_ignored_crowd"] = selection.ignored_crowd
            self._counts[f"{name}_ignored_small"] = selection.ignored_small
        self.train_draws: NDArray[np.float64] = expected_draws(
            self.train_targets, sampler=self._data.sampler, repeat_threshold=self._data.repeat_threshold
        )
        """Mean visits of each training image in an epoch, float64 [N]; their sum is ``images_per_epoch``."""
        labels = [self._splits[name].index.fingerprint for name in ("train", "val")]
        self.fingerprint: str = fingerprint(labels, self._data, self._debug, seed=self._seed)

    @property
    def num_classes(self) -> int:
        """Number of classes, C."""
        return len(self.class_names)

    @property
    def train_targets(self) -> NDArray[np.uint8]:
        """Targets of train, uint8 [N, C], for class statistics."""
        return self.targets("train")

    @property
    def images_per_epoch(self) -> int:
        """Training images visited in every epoch by all processes, repeats counted."""
        return epoch_length(self.train_draws)

    @property
    def monitor_split(self) -> str:
        """Split on which a run chooses thresholds and its best epoch: holdout; val without one; train to overfit."""
        if self._debug.overfit_images:
            return "train"
        return "holdout" if "holdout" in self._splits else "val"

    def targets(self, split: str) -> NDArray[np.uint8]:
        """Multi-hot targets of ``split``, uint8 [N, C]."""
        return self._of(split).targets

    def image_ids(self, split: str) -> NDArray[np.int64]:
        """COCO's image ids of ``split``, int64 [N]."""
        chosen = self._of(split)
        return chosen.index.image_ids[chosen.rows]

    def path(self, split: str, row: int) -> Path:
        """File of image ``row`` of ``split``."""
        chosen = self._of(split)
        return chosen.image_dir / chosen.index.file_name(int(chosen.rows[row]))

    def path_of(self, split: str, image_id: int) -> Path:
        """File of an image of ``split`` by COCO's number."""
        return self._of(split).path_of(image_id)

    def counts(self) -> dict[str, int]:
        """Images per split, and what the selection left out, for the banner."""
        return dict(self._counts)

    def resume_at(self, epoch: int, batches_done: int) -> None:
        """Let training begin at batch ``batches_done`` of ``epoch``; to be called before Lightning asks for the loader.

        Lightning asks for it, and starts its workers, before it sets the epoch for the first time.
        """
        self._resume = (epoch, batches_done)

    def train_dataloader(self) -> BatchLoader:
        """Shuffled, augmented batches of train for this process; Lightning sets the epoch of ``train_order``."""
        split = self._of("train")
        epoch, batches_done = self._resume
        self.train_order = self._order(split, self._data.batch_size, shuffle=True)
        self.train_order.set_epoch(epoch)
        self.train_order.skip_batches(batches_done)
        frames = self._prepared("train")
        exact = self._data.exact_resize
        recipe = train_recipe(self._augment, self._data.image_size, seed=self._seed, exact=exact)
        encoded = self._data.decode == "device"
        return self._loader(split, recipe, self.train_order, frames, persistent=True, encoded=encoded)

    def val_dataloader(self) -> list[BatchLoader]:
        """Loader of the monitor split, from the cache, and of val too where its curve is asked for."""
        names = [self.monitor_split, *(["val"] if self.val_curve and self.monitor_split != "val" else [])]
        return [self._eval_loader(name, self._prepared(name), persistent=True) for name in names]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch on the device; with its pixels, where the loader brings it without."""
        return self._device_side.bring(batch, device)

    def eval_loader(self, split: str) -> BatchLoader:
        """Batches of ``train``, ``holdout`` or ``val`` in order, with the evaluation resize; each image once.

        From the original files, whatever training read: these are the scores that a run reports.
        """
        return self._eval_loader(split, None, persistent=True)

    def calibration_loader(self, images: int) -> BatchLoader:
        """Batches of up to ``images`` images of train, chosen by the seed, with the evaluation resize."""
        train = self._of("train")
        return self._loader_in_order(
            train.some(images, seed=self._seed, stream=CALIBRATION_STREAM), None, persistent=False
        )

    def _eval_loader(self, name: str, frames: Frames | None, *, persistent: bool) -> BatchLoader:
        return self._loader_in_order(self._of(name), frames, persistent=persistent)

    def _loader_in_order(self, split: Split, frames: Frames | None, *, persistent: bool) -> BatchLoader:
        order = self._order(split, self._data.eval_batch_size, shuffle=False)
        recipe = eval_recipe(self._data.resize, self._data.image_size, original=frames is None)
        return self._loader(split, recipe, order, frames, persistent=persistent)

    def _prepared(self, name: str) -> StoreFrames | None:
        """The store that holds the images of a split, opened once; None where they are read from their files."""
        split, spec = self._of(name), store_spec(self._data, self._augment)
        if spec is None or name == "val":
            return None
        if self._store is None:
            folder = store_folder(self.source.train_annotations, self._cache_dir, spec)
            self._store = open_store(split.index, split.image_dir, folder, spec)
        return self._store

    def _order(self, split: Split, batch_size: int, *, shuffle: bool) -> EpochBatchSampler:
        return EpochBatchSampler(
            len(split.rows),
            batch_size,
            seed=self._seed,
            shuffle=shuffle,
            drop_last=shuffle,
            draws_N=self.train_draws if shuffle else None,
            by_shard=split.by_shard(lag=(2 * self._num_workers + 1) * batch_size),  # a worker holds two batches
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            max_batches=self._debug.max_steps,
        )

    def _loader(
        self,
        split: Split,
        recipe: Recipe,
        order: EpochBatchSampler,
        frames: Frames | None,
        *,
        persistent: bool,
        encoded: bool = False,
    ) -> BatchLoader:
        return split_loader(
            split,
            self._data,
            recipe,
            order,
            frames=frames,
            encoded=encoded,
            num_workers=self._num_workers,
            persistent=persistent,
            pin_memory=self._pin_memory,
        )

    def _tars(self, index: CocoIndex) -> TarFrames | None:
        if not self._data.shards:
            return None
        return open_tars(index, self.source.train_annotations, self._data, cache_dir=self._cache_dir)

    def _select(self, annotations: Path, image_dir: Path | None) -> tuple[CocoIndex, Selection]:
        data = self._data
        index = load_index(annotations, image_dir=image_dir, cache_dir=self._cache_dir, reader=data.reader)
        return index, select_targets(
            index, classes=data.classes, empty=data.empty, crowd=data.crowd, min_area=data.min_area
        )

    def _of(self, split: str) -> Split:
        if split not in self._splits:
            raise DataError(f"no split {split!r} in this run; it has {', '.join(self._splits)}")
        return self._splits[split]
