"""Images and multi-hot targets, one by one and in batches."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from src.data.augment import apply
from src.data.coco import CocoIndex
from src.data.errors import ImageError
from src.data.images import read_image
from src.data.order import Key


class Sample(NamedTuple):
    """One image; in the place of the pixels of a broken one stands what is wrong with it."""

    row: int
    image_id: int
    target: NDArray[np.uint8]
    image: NDArray[np.uint8] | ImageError


class Batch(TypedDict):
    """What the network is fed. B images are whole, S are broken."""

    image: Tensor
    """uint8 [B, 3, H, W] RGB, channels_last."""
    target: Tensor
    """uint8 [B, C], multi-hot."""
    image_id: Tensor
    """int64 [B], COCO's number."""
    row: Tensor
    """int64 [B], row within the split."""
    skipped: Tensor
    """int64 [S], rows within the split of the broken images left out."""


class MultiLabelDataset(Dataset[Sample]):
    """The images of one split, read and transformed.

    Holds arrays only, so loader workers that share its memory by fork do not copy it.
    """

    def __init__(
        self,
        index: CocoIndex,
        image_dir: Path,
        *,
        rows: NDArray[np.int64],
        targets: NDArray[np.uint8],
        transform: A.Compose,
        seed: int | None,
        max_pixels: int,
    ) -> None:
        """Choose the images.

        Args:
            index: where file names, sizes and image ids come from.
            image_dir: folder of the images.
            rows: int64 [N], rows of ``index`` that make up the split.
            targets: uint8 [N, C], multi-hot.
            transform: uint8 image to uint8 image of one size for all.
            seed: run seed of a random ``transform``; None where nothing is random.
            max_pixels: largest image that is decoded.
        """
        self._index = index
        self._image_dir = image_dir
        self._rows = rows
        self._targets = targets
        self._transform = transform
        self._seed = seed
        self._max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Key) -> Sample:
        """Image of ``key = (epoch, row)`` or ``(epoch, row, repeat)``."""
        row = key[1]
        at = int(self._rows[row])
        image_id = int(self._index.image_ids[at])
        image: NDArray[np.uint8] | ImageError
        try:
            pixels = read_image(self.path(row), expected=self._claimed_size(at), max_pixels=self._max_pixels)
        except ImageError as error:
            image = ImageError(error.path, f"{error.reason} (image id {image_id})")
        else:
            seed = None if self._seed is None else (self._seed, *key)
            image = apply(self._transform, pixels, seed=seed)
        return Sample(row, image_id, self._targets[row], image)

    def path(self, row: int) -> Path:
        """File of image ``row`` of the split."""
        return self._image_dir / self._index.file_name(int(self._rows[row]))

    def _claimed_size(self, at: int) -> tuple[int, int] | None:
        width, height = int(self._index.widths[at]), int(self._index.heights[at])
        return (width, height) if width > 0 and height > 0 else None


def collate(samples: Sequence[Sample], *, image_size: int) -> Batch:
    """Stack the whole images of ``samples``, name the broken ones; all may be broken, then B is 0."""
    pixels = [sample.image for sample in samples if not isinstance(sample.image, ImageError)]
    whole = [sample for sample in samples if not isinstance(sample.image, ImageError)]
    broken = [sample.row for sample in samples if isinstance(sample.image, ImageError)]
    # reshape gives an empty batch its shape
    images_BHWC = np.array(pixels, np.uint8).reshape(-1, image_size, image_size, 3)
    targets_BC = np.array([sample.target for sample in whole], np.uint8).reshape(-1, len(samples[0].target))
    return {
        "image": torch.from_numpy(images_BHWC).permute(0, 3, 1, 2),
        "target": torch.from_numpy(targets_BC),
        "image_id": torch.tensor([sample.image_id for sample in whole], dtype=torch.int64),
        "row": torch.tensor([sample.row for sample in whole], dtype=torch.int64),
        "skipped": torch.tensor(broken, dtype=torch.int64),
    }


def collate_strictly(samples: Sequence[Sample], *, image_size: int) -> Batch | ImageError:
    """As ``collate``, but the first broken image is returned instead, for ``BatchLoader`` to raise."""
    errors = (sample.image for sample in samples if isinstance(sample.image, ImageError))
    return next(errors, None) or collate(samples, image_size=image_size)


class BatchLoader(DataLoader[Any]):
    """A DataLoader that raises a worker's ImageError as it is.

    PyTorch re-raises a worker's exception as ``type(error)(text of the traceback)``: an error with fields of its own
    becomes a RuntimeError. So a broken image comes as data and is raised in this process.
    """

    def __iter__(self) -> Any:
        return map(_raise_error, super().__iter__())


def _raise_error(batch: Batch | ImageError) -> Batch:
    if isinstance(batch, ImageError):
        raise batch
    return batch


def make_collate(*, image_size: int, on_error: str) -> "partial[Batch | ImageError]":
    """Collate function for ``on_error``: ``skip`` leaves broken images out, ``raise`` ends the run at the first."""
    return partial(collate if on_error == "skip" else collate_strictly, image_size=image_size)
