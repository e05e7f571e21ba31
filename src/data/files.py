"""Batches of image files without labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import torch
from torch.utils.data import Dataset

from src.data.augment.recipe import apply
from src.data.dataset import Batch, BatchLoader, as_it_is
from src.data.errors import ImageError
from src.data.images.reading import begin_worker, read_image
from src.data.order import EpochBatchSampler, Key


class FileDataset(Dataset[Any]):
    """Files, read and transformed in batches; the targets are zeros, the image id is the row."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        num_classes: int,
        transform: A.Compose,
        image_size: int,
        max_pixels: int,
        on_error: str,
    ) -> None:
        """Choose the files.

        Args:
            paths: the files.
            num_classes: columns of the targets.
            transform: uint8 image to uint8 image of ``image_size``.
            image_size: side of the result, pixels.
            max_pixels: largest image that is decoded.
            on_error: ``skip`` names the rows of broken images in the batch; ``raise`` gives the first instead of it.
        """
        # one array: a list's reference counts would be written, and its pages copied, in every loader worker
        self._paths = np.array([str(path) for path in paths], dtype=np.str_)
        self._num_classes = num_classes
        self._transform = transform
        self._image_size = image_size
        self._max_pixels = max_pixels
        self._on_error = on_error

    def __len__(self) -> int:
        return len(self._paths)

    def __getitems__(self, keys: Sequence[Key]) -> Batch | ImageError:
        """The batch of these files, each ``(epoch, row)``."""
        pixels, rows, broken = [], [], []
        for _, row, *_ in keys:
            try:
                image = read_image(Path(str(self._paths[row])), expected=None, max_pixels=self._max_pixels)
            except ImageError as error:
                if self._on_error == "raise":
                    return error
                broken.append(row)
            else:
                pixels.append(apply(self._transform, image))
                rows.append(row)
        # reshape gives an empty batch its shape
        images_BHWC = np.array(pixels, np.uint8).reshape(-1, self._image_size, self._image_size, 3)
        return {
            "image": torch.from_numpy(images_BHWC).permute(0, 3, 1, 2),
            "target": torch.zeros((len(rows), self._num_classes), dtype=torch.uint8),
            "image_id": torch.tensor(rows, dtype=torch.int64),
            "row": torch.tensor(rows, dtype=torch.int64),
            "skipped": torch.tensor(broken, dtype=torch.int64),
        }


def file_loader(dataset: FileDataset, *, batch_size: int, num_workers: int, pin_memory: bool) -> BatchLoader:
    """Batches in the order of the files.

    Args:
        dataset: the files.
        batch_size: images per batch.
        num_workers: loader processes.
        pin_memory: copy batches to page-locked memory, for CUDA.
    """
    return BatchLoader(
        dataset,
        batch_sampler=EpochBatchSampler(len(dataset), batch_size, seed=0, shuffle=False, drop_last=False),
        collate_fn=as_it_is,
        num_workers=num_workers,
        prefetch_factor=2 if num_workers > 0 else None,
        pin_memory=pin_memory,
        worker_init_fn=begin_worker,
        generator=torch.Generator().manual_seed(0),
    )
