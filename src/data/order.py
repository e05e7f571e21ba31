"""The batches in which images are visited, as a function of (seed, epoch): nothing to save, nothing to restore."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from src.data.sampler import epoch_length, epoch_rows, in_windows, permutation, repeat_numbers

Key = tuple[int, int] | tuple[int, int, int]
"""(epoch, row), with a number from 1 where the row has come in this epoch before, so that each visit is augmented anew.

The epoch travels with the row: loader workers need no shared state to augment by it.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ByShard:
    """An epoch that goes through shards.

    Attributes:
        shards_N: int32, shard of each row.
        window: shards that are mixed in training, see ``in_windows``; without shuffling, shard follows shard.
        upcoming: told before each batch this process's rows of the epoch in order, and where in them it begins.
    """

    shards_N: NDArray[np.int32]
    window: int
    upcoming: Callable[[NDArray[np.int64], int], None] | None = None


class EpochBatchSampler(Sampler[list[Key]]):
    """Batches of keys for one process.

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
        draws_N: NDArray[np.float64] | None = None,
        by_shard: ByShard | None = None,
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
                none twice (with ``by_shard``, shard after shard).
            drop_last: leave out an incomplete last batch, provided there is a complete one.
            draws_N: mean visits of each row in an epoch, with a whole sum, for ``shuffle``; None visits each once.
            by_shard: keep the rows of a shard together; None knows of no shards.
            rank: this process, 0..world_size-1.
            world_size: processes that share the rows.
            max_batches: end after so many batches; 0 does not.
        """
        if draws_N is not None and (not shuffle or len(draws_N) != num_images):
            raise ValueError(f"draws_N: one number for each of {num_images} images, with shuffle; got {len(draws_N)}")
        self._num_images = num_images
        self._draws_N = draws_N
        self._by_shard = by_shard
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0
        self._start = 0
        visits = num_images if draws_N is None else epoch_length(draws_N)
        share = visits // world_size if shuffle else len(range(rank, visits, world_size))
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
        rows, repeats = self._visits(epoch)
        for index in range(start, self._num_batches):
            chosen = slice(index * self._batch_size, (index + 1) * self._batch_size)
            if self._by_shard and self._by_shard.upcoming:
                self._by_shard.upcoming(rows, chosen.start)
            visits = zip(rows[chosen].tolist(), repeats[chosen].tolist(), strict=True)
            yield [(epoch, row, repeat) if repeat else (epoch, row) for row, repeat in visits]

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

    def _visits(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """This process's rows, in order, and how often each has come before in any process."""
        if self._draws_N is not None:
            order = epoch_rows(self._draws_N, seed=self._seed, epoch=epoch)
        elif self._shuffle:
            order = permutation(self._num_images, seed=self._seed, epoch=epoch)
        else:
            order = np.arange(self._num_images)
        if self._by_shard:
            order = self._shard_after_shard(order, self._by_shard, epoch)
        own = slice(self._rank, self._share * self._world_size, self._world_size)
        return order[own], repeat_numbers(order)[own]

    def _shard_after_shard(self, order: NDArray[np.int64], by_shard: ByShard, epoch: int) -> NDArray[np.int64]:
        if not self._shuffle:
            return order[np.argsort(by_shard.shards_N[order], kind="stable")]
        return in_windows(order, by_shard.shards_N, window=by_shard.window, seed=self._seed, epoch=epoch)
