"""Image files without labels."""

from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from src.data.augment import apply
from src.data.dataset import BatchLoader, Sample, make_collate
from src.data.errors import DataError, ImageError
from src.data.images import begin_worker, read_image
from src.data.order import EpochBatchSampler, Key

SUFFIXES = (".jpg", ".jpeg", ".png")


def find_images(place: Path) -> list[Path]:
    """The image itself, or every JPEG and PNG below a folder in order of its path; hidden files are left out.

    Raises:
        DataError: no such file or folder, or a folder without images.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise DataError(f"input: no file or folder {place}")
    found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    shown = [path for path in found if not any(part.startswith(".") for part in path.relative_to(place).parts)]
    if not shown:
        raise DataError(f"input: no image ({', '.join(SUFFIXES)}) below {place}")
    return shown


class FileDataset(Dataset[Sample]):
    """Files, read and transformed; the targets are zeros, the image id is the row."""

    def __init__(self, paths: Sequence[Path], *, num_classes: int, transform: A.Compose, max_pixels: int) -> None:
        # one array: a list's reference counts would be written, and its pages copied, in every loader worker
        self._paths = np.array([str(path) for path in paths], dtype=np.str_)
        self._target: NDArray[np.uint8] = np.zeros(num_classes, dtype=np.uint8)
        self._transform = transform
        self._max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: Key) -> Sample:
        """File of ``key = (epoch, row)``."""
        row = key[1]
        image: NDArray[np.uint8] | ImageError
        try:
            pixels = read_image(Path(str(self._paths[row])), expected=None, max_pixels=self._max_pixels)
        except ImageError as error:
            image = error
        else:
            image = apply(self._transform, pixels, seed=None)
        return Sample(row, row, self._target, image)


def file_loader(
    dataset: FileDataset, *, batch_size: int, image_size: int, on_error: str, num_workers: int, pin_memory: bool
) -> BatchLoader:
    """Batches in the order of the files.

    Args:
        dataset: the files.
        batch_size: images per batch.
        image_size: side of the transform's result, pixels.
        on_error: ``skip`` names the rows of broken images in the batch, ``raise`` ends at the first.
        num_workers: loader processes.
        pin_memory: copy batches to page-locked memory, for CUDA.
    """
    return BatchLoader(
        dataset,
        batch_sampler=EpochBatchSampler(len(dataset), batch_size, seed=0, shuffle=False, drop_last=False),
        collate_fn=make_collate(image_size=image_size, on_error=on_error),
        num_workers=num_workers,
        prefetch_factor=2 if num_workers > 0 else None,
        pin_memory=pin_memory,
        worker_init_fn=begin_worker,
        generator=torch.Generator().manual_seed(0),
    )
