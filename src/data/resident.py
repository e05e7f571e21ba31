"""The training images in the memory of the device, and their augmentation there, a batch at a time.

The same views as everywhere (``views``), drawn on the CPU and sent as a few numbers an image; the pixels are those of
the raw cache. The loader then brings rows and targets only, and no pixel crosses to the device after the start.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from src.data.augment import Recipe
from src.data.coco import CocoIndex
from src.data.dataset import Batch
from src.data.errors import DataError, ImageError
from src.data.frames import named
from src.data.order import Key
from src.data.render import scaled_box
from src.data.store import StoreFrames

_GREY = (0.299, 0.587, 0.114)


class Ticket(TypedDict):
    """A batch before it has pixels. B images are whole, S are broken."""

    views: Tensor
    """float32 [B, 8]: left, top, right, bottom in pixels of the cache, flip, brightness, contrast, contrast first."""
    place: Tensor
    """int64 [B], row of the index."""
    target: Tensor
    image_id: Tensor
    row: Tensor
    skipped: Tensor


class ResidentDataset(Dataset[Ticket]):
    """The batches of a split without their pixels."""

    def __init__(
        self,
        index: CocoIndex,
        frames: StoreFrames,
        *,
        rows: NDArray[np.int64],
        targets: NDArray[np.uint8],
        recipe: Recipe,
        on_error: str,
    ) -> None:
        """As ``MultiLabelDataset``, over a raw store.

        Raises:
            DataError: the recipe asks for what is not done on the device.
        """
        if recipe.views is None or recipe.rest is not None:
            raise DataError(
                "data.cache=device: crop, flip, brightness and contrast are done on the device, and this augmentation "
                "asks for more; data.cache=raw with it, or augment=light"
            )
        self._index = index
        self._frames = frames
        self._rows = rows
        self._targets = targets
        self._views = recipe.views
        self._on_error = on_error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Key) -> Ticket | ImageError:  # type: ignore[override]
        """The batch of one image."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Ticket | ImageError:
        """The batch of these images; with ``on_error`` raise, the first broken image instead."""
        rows = np.array([key[1] for key in keys], np.int64)
        places = self._rows[rows]
        whole = np.array([at not in self._frames.broken for at in places.tolist()], np.bool_)
        if self._on_error == "raise" and not whole.all():
            return self._error(int(places[~whole][0]))
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
        numbers = np.empty((len(keys), 8), np.float32)
        for i, (width, height) in enumerate(sizes_B2.tolist()):
            numbers[i, :4] = scaled_box(views.boxes_B4[i], (width, height), (side, side))
        numbers[:, 4], numbers[:, 5] = views.flips_B, views.brightness_B
        numbers[:, 6], numbers[:, 7] = views.contrast_B, views.contrast_first_B
        return numbers

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


def paint_batch(images_BHWC: Tensor, views_B8: Tensor, *, image_size: int) -> Tensor:
    """What ``render`` does, for a batch on its device.

    Args:
        images_BHWC: uint8, squares of one size.
        views_B8: see ``Ticket``.
        image_size: side of the result.

    Returns:
        Uint8 [B, 3, image_size, image_size], channels_last.
    """
    pixels = images_BHWC.permute(0, 3, 1, 2).float()
    boxes_B4, flips_B = views_B8[:, :4], views_B8[:, 4] > 0
    x_BS = _centres(boxes_B4[:, 0], boxes_B4[:, 2], image_size)
    x_BS = torch.where(flips_B[:, None], x_BS.flip(1), x_BS)
    y_BS = _centres(boxes_B4[:, 1], boxes_B4[:, 3], image_size)
    side = pixels.shape[-1]
    grid_BSS2 = torch.stack(
        [
            ((2 * x_BS + 1) / side - 1)[:, None, :].expand(-1, image_size, -1),
            ((2 * y_BS + 1) / side - 1)[:, :, None].expand(-1, -1, image_size),
        ],
        dim=3,
    )
    shown = F.grid_sample(pixels, grid_BSS2, mode="bilinear", padding_mode="border", align_corners=False).round_()
    brightness_B, contrast_B, first_B = views_B8[:, 5], views_B8[:, 6], views_B8[:, 7] > 0
    shown = _contrasted(shown, torch.where(first_B, contrast_B, torch.ones_like(contrast_B)))
    shown = (shown * brightness_B[:, None, None, None]).clamp_(0, 255).floor_()
    shown = _contrasted(shown, torch.where(first_B, torch.ones_like(contrast_B), contrast_B))
    return shown.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def _centres(start_B: Tensor, stop_B: Tensor, count: int) -> Tensor:
    """Where ``count`` pixels lie within boxes, in pixel centres, [B, count]; inside the box, as ``cv2.resize``."""
    steps = (torch.arange(count, device=start_B.device, dtype=start_B.dtype) + 0.5) / count
    places = start_B[:, None] + steps * (stop_B - start_B)[:, None] - 0.5
    return places.clamp(start_B[:, None], stop_B[:, None] - 1)


def _contrasted(images_BCHW: Tensor, factors_B: Tensor) -> Tensor:
    weights = torch.tensor(_GREY, device=images_BCHW.device)
    means_B = images_BCHW.mean(dim=(2, 3)) @ weights
    factors = factors_B[:, None, None, None]
    changed = (images_BCHW * factors + (1 - factors) * means_B[:, None, None, None]).clamp_(0, 255).floor_()
    return torch.where(factors == 1, images_BCHW, changed)
