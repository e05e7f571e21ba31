"""Batches of one split, from whichever kind of dataset its settings ask for."""

import torch

from src.config.schema.data import DataConfig
from src.data.augment.recipe import Recipe
from src.data.dataset import BatchLoader, MultiLabelDataset, as_it_is
from src.data.device.encoded import EncodedDataset
from src.data.device.resident import ResidentDataset
from src.data.frames import FileFrames, Frames
from src.data.images.reading import begin_worker
from src.data.order import EpochBatchSampler
from src.data.split import Split
from src.data.store.shards import StoreFrames


def _dataset(
    split: Split, data: DataConfig, recipe: Recipe, frames: Frames | None, *, encoded: bool
) -> MultiLabelDataset | ResidentDataset | EncodedDataset:
    if data.cache == "device" and isinstance(frames, StoreFrames):
        return ResidentDataset(
            split.index, frames, rows=split.rows, targets=split.targets, recipe=recipe, on_error=data.on_error
        )
    files = FileFrames(split.index, split.image_dir, max_pixels=data.max_pixels)
    if encoded:
        return EncodedDataset(
            split.index, files, rows=split.rows, targets=split.targets, recipe=recipe, on_error=data.on_error
        )
    return MultiLabelDataset(
        split.index,
        frames or split.tars or files,
        rows=split.rows,
        targets=split.targets,
        recipe=recipe,
        on_error=data.on_error,
    )


def split_loader(
    split: Split,
    data: DataConfig,
    recipe: Recipe,
    order: EpochBatchSampler,
    *,
    frames: Frames | None = None,
    encoded: bool = False,
    num_workers: int,
    persistent: bool = False,
    pin_memory: bool = False,
) -> BatchLoader:
    """Batches of a split.

    Args:
        split: images and targets.
        data: what to do with broken images, pixel limit.
        recipe: from pixels to the network's input.
        order: which keys make up which batch.
        frames: where pixels come from; None reads the originals. With ``data.cache=device`` the batches of a store come
            without pixels, for ``ResidentImages``.
        encoded: batches of files that are not decoded yet, for ``DeviceDecoder``; ``frames`` is None.
        num_workers: loader processes.
        persistent: keep them between epochs.
        pin_memory: copy batches to page-locked memory, for CUDA.
    """
    dataset = _dataset(split, data, recipe, frames, encoded=encoded)
    return BatchLoader(
        dataset,
        batch_sampler=order,
        collate_fn=as_it_is,
        num_workers=num_workers,
        persistent_workers=persistent and num_workers > 0,
        prefetch_factor=2 if num_workers > 0 else None,
        pin_memory=pin_memory,
        worker_init_fn=begin_worker,
        # Its own generator: starting workers would otherwise draw from the global one, and a resumed run differ.
        generator=torch.Generator().manual_seed(recipe.seed or 0),
    )
