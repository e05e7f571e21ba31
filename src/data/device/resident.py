"""The training images in the memory of the device, and their augmentation there, a batch at a time.

The same views as everywhere (``views``), drawn on the CPU and sent as a few numbers an image; the pixels are those of
the raw cache. The loader then brings rows and targets only, and no pixel crosses to the device after the start.
"""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.data.augment.render import scaled_box
from src.data.dataset import Batch, SplitDataset
from src.data.device.paint import paint_batch, view_numbers
from src.data.errors import DataError, ImageError
from src.data.frames import named
from src.data.order import Key
from src.data.store.shards import StoreFrames


class Ticket(TypedDict):
    """A batch before it has pixels. B images are whole, S are broken."""

    views: Tensor
    """float32 [B, 8], see ``view_numbers``; boxes in pixels of the cache."""
    place: Tensor
    """int64 [B], row of the index."""
    target: Tensor
    image_id: Tensor
    row: Tensor
    skipped: Tensor


class ResidentDataset(SplitDataset[StoreFrames]):
    """The batches of a split over a raw store, without their pixels.

    Raises:
        DataError: the recipe asks for what is not done on the device.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As ``SplitDataset``."""
        super().__init__(*args, **kwargs)
        self._views = self._recipe.views_alone(asked="data.cache=device", instead="data.cache=raw")

    def __getitems__(self, keys: Sequence[Key]) -> Ticket | ImageError:
        """The batch of these images; with ``on_error`` raise, the first broken image instead."""
        rows = np.array([key[1] for key in keys], np.int64)
        places = self._rows[rows]
        whole = np.array([at not in self._frames.broken for at in places.tolist()], np.bool_)
        if self._on_error == "raise" and not whole.all():
            return self._error(int(places[~whole][0])).stopping()
        kept = [key for key, usable in zip(keys, whole, strict=True) if usable]
        return {
            "views": torch.from_numpy(self._numbers(kept, places[whole])),
            "place": torch.from_numpy(places[whole]),
            "target": torch.from_numpy(self._targets[rows[whole]]),
            "image_id": torch.from_numpy(self._index.image_ids[places[whole]]),
            "row": torch.from_numpy(rows[whole]),
            "skipped": torch.from_numpy(rows[~whole]),
        }

    def _numbers(self, keys: Sequence[Key], places: NDArray[np.int64]) -> NDArray[np.float32]:
        sizes_B2 = np.array([self._frames.size(at) for at in places.tolist()], np.int64).reshape(-1, 2)
        views, side = self._views(keys, sizes_B2), self._frames.side
        boxes_B4 = [
            scaled_box(views.box(i), (0, 0, width, height), (side, side))
            for i, (width, height) in enumerate(sizes_B2.tolist())
        ]
        return view_numbers(views, np.array(boxes_B4, np.float32).reshape(-1, 4))

    def _error(self, at: int) -> ImageError:
        try:
            self._frames.size(at)
        except ImageError as error:
            return named(error, self._index, at)
        raise AssertionError(f"image {at} is not broken")


class ResidentImages:
    """All images of a raw store on one device."""

    def __init__(self, frames: StoreFrames, device: torch.device, *, image_size: int) -> None:
        """Copy the store to the device.

        Args:
            frames: a raw store.
            device: where the images are to lie.
            image_size: side of what ``batch`` makes of them.

        Raises:
            DataError: the device has not that much memory.
        """
        self._image_size = image_size
        side, count = frames.side, len(frames)
        try:
            self._images_NHWC = torch.empty((count, side, side, 3), dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError as error:
            size = count * side * side * 3 / 1e9
            raise DataError(
                f"data.cache=device: {count:,} images at {side} px take {size:.1f} GB, more than {device} has free; "
                "data.cache=raw, or a smaller data.cache_side"
            ) from error
        for start, block in frames.blocks():
            self._images_NHWC[start : start + len(block)] = torch.from_numpy(block).to(device)

    def batch(self, ticket: Ticket) -> Batch:
        """The batch that ``ticket`` stands for; its tensors must lie on the images' device."""
        images_BHWC = self._images_NHWC[ticket["place"]]
        return {
            "image": paint_batch(images_BHWC, ticket["views"], image_size=self._image_size),
            "target": ticket["target"],
            "image_id": ticket["image_id"],
            "row": ticket["row"],
            "skipped": ticket["skipped"],
        }
