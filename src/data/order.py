"""The order in which images are visited, as a function of (seed, epoch): nothing to save, nothing to restore."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Key = tuple[int, int]
"""(epoch, row): the epoch travels with the row, so that loader workers need no shared state to augment by it."""

_ORDER_STREAM = 1
"""Keeps this randomness apart from the augmentation's, which is seeded with (seed, epoch, row)."""


def permutation(num_images: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Random order of ``num_images`` rows, int64; the same for the same arguments."""
    sequence = np.random.SeedSequence((seed, epoch), spawn_key=(_ORDER_STREAM,))
    return np.random.Generator(np.random.PCG64(sequence)).permutation(num_images)


class EpochBatchSampler(Sampler[list[Key]]):
    """Batches of ``(epoch, row)`` keys for one process.

    The epoch and the start are those at the moment of ``iter``: loader workers are given their first batches then, and
    any number of workers, 0 included, must see the same.
    """

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        rank: int = 0,
        world_size: int = 1,
        max_batches: int = 0,
    ) -> None:
        """Set up epoch 0.

        Args:
            num_images: rows to visit, 0..num_images-1.
            batch_size: rows per batch and process.
            seed: seed of the order.
            shuffle: a new order in every epoch, and the same number of batches in every process, as training needs
                (fewer than ``world_size`` images are left out for it); False visits all rows in ascending order,
                none twice.
            drop_last: leave out an incomplete last batch, provided there is a complete one.
            rank: this process, 0..world_size-1.
            world_size: processes that share the rows.
            max_batches: end after so many batches; 0 does not.
        """
        self._num_images = num_images
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._start = 0
        share = num_images // world_size if shuffle else len(range(rank, num_images, world_size))
        complete, rest = divmod(share, batch_size)
        self._share = share
        self._num_batches = complete if rest == 0 or (drop_last and complete > 0) else complete + 1
        if max_batches > 0:
            self._num_batches = min(self._num_batches, max_batches)

    def __len__(self) -> int:
        """Batches of a whole epoch, whatever ``skip_batches`` said."""
        return self._num_batches

    def __iter__(self) -> Iterator[list[Key]]:
        return self._batches(self._epoch, self._start)

    def _batches(self, epoch: int, start: int) -> Iterator[list[Key]]:
        # The start is used up by the first batch, not by iter(): with workers, DataLoader calls iter() twice in a row.
        self._start = 0
        rows = self._rows(epoch)
        for index in range(start, self._num_batches):
            chosen = rows[index * self._batch_size : (index + 1) * self._batch_size]
            yield [(epoch, row) for row in chosen.tolist()]

    @property
    def sampler(self) -> "EpochBatchSampler":
        """Itself: Lightning looks for ``set_epoch`` at ``loader.batch_sampler.sampler`` before every epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch

    def skip_batches(self, count: int) -> None:
        """Let the next iteration, and only that one, begin at batch ``count``."""
        if not 0 <= count <= self._num_batches:
            raise ValueError(f"cannot skip {count} batches of an epoch of {self._num_batches}")
        self._start = count

    def _rows(self, epoch: int) -> NDArray[np.int64]:
        """This process's rows, in order."""
        if self._shuffle:
            order = permutation(self._num_images, seed=self._seed, epoch=epoch)
        else:
            order = np.arange(self._num_images)
        return order[self._rank :: self._world_size][: self._share]
