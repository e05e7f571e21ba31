"""Remote shards fetched before they are needed."""

import logging
import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from src.data.errors import DataError
from src.data.tar.folder import TarFolder

_log = logging.getLogger(__name__)


class Stretches:
    """Where in an epoch each shard is needed for the first and for the last time."""

    def __init__(self, shards_L: NDArray[np.int32], sizes: Sequence[int]) -> None:
        """From the shard of each visit of the epoch, -1 where it needs none, and the bytes of each shard."""
        numbers, first = np.unique(shards_L, return_index=True)
        _, from_end = np.unique(shards_L[::-1], return_index=True)
        skipped = int(len(numbers) > 0 and numbers[0] < 0)
        numbers, first, from_end = numbers[skipped:], first[skipped:], from_end[skipped:]
        order = np.argsort(first)
        self._numbers = numbers[order]
        self._last = (len(shards_L) - 1 - from_end)[order]
        self._sizes = np.asarray(sizes, np.int64)[self._numbers]

    def ahead(self, at: int, *, room: int) -> tuple[int, ...]:
        """Shards still needed at visit ``at`` or later, by first need, as many as fit into ``room`` bytes."""
        needed = np.flatnonzero(self._last >= at)
        fits = np.cumsum(self._sizes[needed]) <= room
        return tuple(self._numbers[needed[fits]].tolist())


class TarsAhead:
    """Fetches, in a thread, what the batches to come will read; one for each order, in the process that makes it."""

    def __init__(
        self,
        folder: TarFolder,
        shards_of: Callable[[NDArray[np.int64]], NDArray[np.int32]],
        sizes: Sequence[int],
        *,
        lag: int,
    ) -> None:
        """Nothing is fetched before the first batch is announced.

        Args:
            folder: where the copies go.
            shards_of: the shards that reading these rows takes, -1 where it takes none; asked once an epoch.
            sizes: bytes of each shard.
            lag: visits that may have been announced and not been read.
        """
        self._folder = folder
        self._shards_of = shards_of
        self._sizes = sizes
        self._lag = lag
        self._rows: NDArray[np.int64] | None = None
        self._wanted: tuple[int, ...] = ()
        self._failed: set[int] = set()
        self._thread: threading.Thread | None = None
        self._mutex = threading.Lock()

    def __call__(self, rows_L: NDArray[np.int64], at: int) -> None:
        """A batch that begins at visit ``at`` is next in an epoch of these rows."""
        if rows_L is not self._rows:
            self._rows, self._stretches = rows_L, Stretches(self._shards_of(rows_L), self._sizes)
            self._failed.clear()
        wanted = self._stretches.ahead(at - self._lag, room=self._folder.bound)
        with self._mutex:
            self._wanted = wanted
            if self._thread is None and self._next() is not None:
                self._thread = threading.Thread(target=self._fetch_all, name="tars-ahead", daemon=True)
                self._thread.start()

    def _next(self) -> int | None:
        return next((n for n in self._wanted if n not in self._failed and n not in self._folder), None)

    def _fetch_all(self) -> None:
        while True:
            with self._mutex:
                number, wanted = self._next(), self._wanted
                if number is None:
                    self._thread = None
                    return
            try:
                fetched = self._folder.fetch(number, kept=wanted)
            except DataError as error:  # whoever reads the shard meets the error again, and raises it
                _log.warning("%s", error)
                self._failed.add(number)
                continue
            if not fetched:  # no room now: the next batch asks again
                with self._mutex:
                    self._thread = None
                    return
