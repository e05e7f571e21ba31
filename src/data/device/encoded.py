"""Batches of JPEGs that are still encoded: read and checked by the loader, decoded and painted on the device.

The loader's cores are left with reading files; what crosses to the training process is about as large as finished
pixels would be (a JPEG of COCO's has some 160 kB, a 224 px input 150). What the device does not decode (PNG, CMYK, more
than 8 bits) is decoded and painted here, as ``MultiLabelDataset`` would.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.data.augment.views import Views
from src.data.dataset import SplitDataset, shared_empty
from src.data.device.paint import view_numbers
from src.data.errors import ImageError
from src.data.frames import FileFrames, named
from src.data.images.header import Header
from src.data.order import Key

HOST = ("encoded", "lengths", "at", "place", "boxes")
"""Parts of a ticket that stay on the host: decoders want the files there, and boxes decide shapes."""


class EncodedTicket(TypedDict):
    """A batch before it has pixels. B images are usable as far as one sees, D of them encoded, S are broken."""

    encoded: Tensor
    """uint8, the D files end to end."""
    lengths: Tensor
    """int64 [D], bytes of each file."""
    at: Tensor
    """int64 [D], their positions in the batch; the images of ``painted`` have the other ones."""
    boxes: Tensor
    """int64 [D, 4]: left, top, right, bottom in their pixels."""
    place: Tensor
    """int64 [B], row of the index."""
    views: Tensor
    """float32 [B, 8], see ``view_numbers``."""
    painted: Tensor
    """uint8 [B - D, S, S, 3], finished."""
    target: Tensor
    image_id: Tensor
    row: Tensor
    skipped: Tensor


class EncodedDataset(SplitDataset[FileFrames]):
    """The images of one split, read but not decoded.

    Raises:
        DataError: the recipe asks for what is not done on the device.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As ``SplitDataset``."""
        super().__init__(*args, **kwargs)
        self._views = self._recipe.views_alone(asked="data.decode=device", instead="data.decode=cpu")

    def __getitems__(self, keys: Sequence[Key]) -> EncodedTicket | ImageError:
        """The batch of these images; with ``on_error`` raise, the first broken image instead."""
        rows = np.array([key[1] for key in keys], np.int64)
        read, errors = self._read(self._rows[rows].tolist())
        if errors and self._on_error == "raise":
            return errors[min(errors)].stopping()
        whole = np.array([i not in errors for i in range(len(keys))], np.bool_)
        kept, places = [key for key, usable in zip(keys, whole, strict=True) if usable], self._rows[rows[whole]]
        views = self._views(kept, np.array([one.size for one in read], np.int64).reshape(-1, 2))
        at = np.array([i for i, one in enumerate(read) if one.pixels is None], np.int64)
        return {
            "encoded": _end_to_end([read[i].data for i in at.tolist()]),
            "lengths": torch.tensor([len(read[i].data) for i in at.tolist()], dtype=torch.int64),
            "at": torch.from_numpy(at),
            "boxes": torch.from_numpy(views.boxes_B4[at]),
            "place": torch.from_numpy(places),
            "views": torch.from_numpy(view_numbers(views, views.boxes_B4.astype(np.float32))),
            "painted": self._painted(kept, read, views),
            "target": torch.from_numpy(self._targets[rows[whole]]),
            "image_id": torch.from_numpy(self._index.image_ids[places]),
            "row": torch.from_numpy(rows[whole]),
            "skipped": torch.from_numpy(rows[~whole]),
        }

    def _read(self, places: Sequence[int]) -> tuple[list["_Read"], dict[int, ImageError]]:
        """What could be read, in order; what is wrong with the others, by position."""
        read, errors = [], {}
        for i, place in enumerate(places):
            try:
                data, header = self._frames.encoded(place)
                pixels = None if _for_device(header) else self._frames.decode(place, data)
            except ImageError as error:
                errors[i] = named(error, self._index, place)
            else:
                read.append(_Read(data, (header.width, header.height), pixels))
        return read, errors

    def _painted(self, keys: Sequence[Key], read: Sequence["_Read"], views: Views) -> Tensor:
        side = self._recipe.image_size
        pixels = {i: one.pixels for i, one in enumerate(read) if one.pixels is not None}
        images = shared_empty(len(pixels), side, side, 3)
        painted = dict(zip(pixels, images.numpy(), strict=True))
        for i, out in painted.items():
            self._recipe.paint(pixels[i], views, i, out, key=keys[i], shown=(0, 0, *read[i].size))
        self._recipe.finish(painted, views, keys)
        return images


@dataclass(frozen=True, slots=True)
class _Read:
    """A file, its width and height, and its pixels where the device is not to decode it."""

    data: bytes
    size: tuple[int, int]
    pixels: NDArray[np.uint8] | None


def _for_device(header: Header) -> bool:
    return header.format == "JPEG" and header.colour in ("RGB", "grey") and header.bits == 8


def _end_to_end(files: Sequence[bytes]) -> Tensor:
    joined = shared_empty(sum(map(len, files)))
    joined.numpy()[:] = np.frombuffer(b"".join(files), np.uint8)
    return joined
