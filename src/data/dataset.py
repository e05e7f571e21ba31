"""Images and multi-hot targets in batches.

Whole batches are asked for (``__getitems__``) and made in one piece: the pixels are written where they will be sent
from, in a worker the memory it shares with the training process.
"""

import atexit
import math
import multiprocessing
import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any, Generic, TypedDict, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from src.data.augment.recipe import Recipe
from src.data.coco.index import CocoIndex
from src.data.errors import DataError, ImageError
from src.data.frames import Frames, named
from src.data.images.box_decoder import Box
from src.data.order import EpochBatchSampler, Key

_T = TypeVar("_T")


ENOUGH = 15 / 16
"""Rows and columns per pixel of the network at which a half-size image still serves: COCO's 640x427 does for 224."""


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


_FramesT = TypeVar("_FramesT")


class SplitDataset(ABC, Dataset[Any], Generic[_FramesT]):
    """The images of one split; what is made of their pixels, and where, is a subclass's.

    Holds arrays only, so loader workers that share its memory by fork do not copy it.
    """

    def __init__(
        self,
        index: CocoIndex,
        frames: _FramesT,
        *,
        rows: NDArray[np.int64],
        targets: NDArray[np.uint8],
        recipe: Recipe,
        on_error: str,
    ) -> None:
        """Choose the images.

        Args:
            index: where image ids come from.
            frames: where pixels come from.
            rows: int64 [N], rows of ``index`` that make up the split.
            targets: uint8 [N, C], multi-hot.
            recipe: from pixels to the network's input.
            on_error: ``skip`` leaves broken images out; ``raise`` gives the first instead of its batch.
        """
        self._index = index
        self._frames = frames
        self._rows = rows
        self._targets = targets
        self._recipe = recipe
        self._on_error = on_error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Key) -> Any:
        """The batch of one image."""
        return self.__getitems__([key])

    @abstractmethod
    def __getitems__(self, keys: Sequence[Key]) -> Any:
        """The batch of these images."""


class MultiLabelDataset(SplitDataset[Frames]):
    """The images of one split, read and transformed."""

    def __getitems__(self, keys: Sequence[Key]) -> Batch | DataError:
        """The batch of these images, each ``(epoch, row)`` or ``(epoch, row, repeat)``.

        All may be broken, then B is 0. With ``raise`` the first broken image is returned instead, for ``BatchLoader``
        to raise; with either, what is wrong with the source as a whole.
        """
        rows = np.array([key[1] for key in keys], np.int64)
        side = self._recipe.image_size
        images_BHWC = shared_empty(len(keys), side, side, 3)
        try:
            errors = self._paint(keys, rows, images_BHWC.numpy())
        except DataError as error:
            return error
        if errors and self._on_error == "raise":
            return errors[min(errors)].stopping()
        whole = np.array([i not in errors for i in range(len(keys))], np.bool_)
        if errors:
            images_BHWC = images_BHWC[torch.from_numpy(whole)]
        kept = rows[whole]
        return {
            "image": images_BHWC.permute(0, 3, 1, 2),
            "target": torch.from_numpy(self._targets[kept]),
            "image_id": torch.from_numpy(self._index.image_ids[self._rows[kept]]),
            "row": torch.from_numpy(kept),
            "skipped": torch.from_numpy(rows[~whole]),
        }

    def _paint(self, keys: Sequence[Key], rows: NDArray[np.int64], images: NDArray[np.uint8]) -> dict[int, ImageError]:
        """Write the pixels of every image that has some; what is wrong with the others, by position."""
        places = self._rows[rows].tolist()
        errors: dict[int, ImageError] = {}
        sizes_B2 = np.ones((len(keys), 2), np.int64)
        for i, at in enumerate(places):
            try:
                sizes_B2[i] = self._frames.size(at)
            except ImageError as error:
                errors[i] = named(error, self._index, at)
        views = self._recipe.views(keys, sizes_B2) if self._recipe.views else None
        painted: dict[int, NDArray[np.uint8]] = {}
        for i, at in enumerate(places):
            if i in errors:
                continue
            try:
                box = None if views is None else views.box(i)
                pixels, shown = self._frames.read(at, half=self._half_is_enough(box), box=box)
            except ImageError as error:
                errors[i] = named(error, self._index, at)
                continue
            painted[i] = images[i]
            self._recipe.paint(pixels, views, i, painted[i], key=keys[i], shown=shown)
        self._recipe.finish(painted, views, keys)
        return errors

    def _half_is_enough(self, box: Box | None) -> bool:
        """Whether the box still has nearly the network's size when every second pixel is left out."""
        if box is None or self._recipe.exact:
            return False
        left, top, right, bottom = box
        return bool(min(right - left, bottom - top) >= 2 * ENOUGH * self._recipe.image_size)


def shared_empty(*shape: int) -> Tensor:
    """Uint8 of this shape, in a worker in shared memory, so that sending it copies nothing."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]  # in torch
    return torch.empty(0, dtype=torch.uint8).set_(storage).resize_(shape)


class BatchLoader(DataLoader[Any]):
    """A DataLoader (with ``collate_fn=as_it_is``) that raises a worker's DataError as it is.

    PyTorch re-raises a worker's exception as ``type(error)(text of the traceback)``: an error with fields of its own
    becomes a RuntimeError. So a broken image comes as data and is raised in this process.

    Workers ignore SIGTERM (``begin_worker``), with which Python ends the children that it still has when it exits, to
    wait for them then. An iterator that somebody still holds has such: they are killed before.
    """

    def __iter__(self) -> Any:
        _kill_workers_at_exit()
        return map(_raise_error, super().__iter__())

    def start(self) -> None:
        """Fork persistent workers now; they get their first batches when somebody iterates."""
        order = self.batch_sampler
        if self.persistent_workers and isinstance(order, EpochBatchSampler):
            order.skip_batches(len(order))
            iter(self)

    def stop(self) -> None:
        """Let go of persistent workers, which end unless somebody iterates; the next iteration forks new ones."""
        self._iterator = None


@cache
def _kill_workers_at_exit() -> None:
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler takes a killed worker for a failure
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def as_it_is(batch: _T) -> _T:
    """Collate nothing."""
    return batch


def _raise_error(batch: Batch | DataError) -> Batch:
    if isinstance(batch, DataError):
        raise batch
    return batch
