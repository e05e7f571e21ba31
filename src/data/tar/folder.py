"""Copies of remote shards in a local folder that never grows beyond its bound.

The copy that was read longest ago makes room. All processes of a machine share the folder: one of them fetches a shard,
the others wait for it. Copies are opened for each read, so that one that is deleted gives its bytes back at once.
"""

import logging
import os
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from src.data.errors import DataError
from src.data.tar.shards import TarShard, opened
from src.locks import is_locked, locked

_CHUNK = 1 << 20
_PAUSE_SECONDS = 0.05
RETRIES_SECONDS = (1.0, 10.0)
"""Pauses before a transfer that broke is tried again."""
_log = logging.getLogger(__name__)


class TarFolder:
    """Local copies of some of the shards; local shards are left where they are."""

    def __init__(self, folder: Path, shards: Sequence[TarShard], sizes: Sequence[int], *, bound: int) -> None:
        """Choose the folder.

        Args:
            folder: for the copies, created where needed; several sets of shards may share it, and its bound.
            shards: the shards.
            sizes: bytes of each.
            bound: bytes of all copies together, those being fetched included.
        """
        self._folder = folder
        self._shards = shards
        self._sizes = sizes
        self.bound = bound
        self._names = [f"{shard.version}.tar" for shard in shards]

    def __contains__(self, number: int) -> bool:
        return (self._folder / self._names[number]).exists()

    def open(self, number: int) -> BinaryIO:
        """A shard, fetched where it has no copy; to be closed after one read.

        Raises:
            DataError: it cannot be fetched, or is not what it was when its index was made.
        """
        path = self._folder / self._names[number]
        while True:
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                self.fetch(number)
            else:
                os.utime(file.fileno())  # read now: others go first
                return file

    def fetch(self, number: int, *, kept: Collection[int] | None = None) -> bool:
        """Make a copy of a shard, unless there is one.

        Args:
            number: the shard.
            kept: shards that must not be deleted for it; None deletes any, and waits where the bound is taken up by
                copies that other processes are fetching.

        Returns:
            Whether there is a copy now; without ``kept`` there always is.

        Raises:
            DataError: as ``open``.
        """
        target = self._folder / self._names[number]
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            if target.exists():
                return True
            part = target.with_suffix(".part")
            part.unlink(missing_ok=True)  # of a killed process: we hold the lock
            while not self._reserve(part, self._sizes[number], kept):
                if kept is not None:
                    return False
                time.sleep(_PAUSE_SECONDS)
            try:
                self._download_in_the_end(number, part)
                with locked(self._folder / "lock"):  # whoever adds up the folder sees it under one of its names
                    part.replace(target)
            except OSError as error:
                raise DataError(f"{part}: cannot be written: {error.strerror}; cache_dir=PATH") from error
            finally:
                part.unlink(missing_ok=True)
        return True

    def _reserve(self, part: Path, size: int, kept: Collection[int] | None) -> bool:
        """Delete old copies until ``size`` bytes are left below the bound, and take them up; False where that fails."""
        spared = {self._names[number] for number in kept or ()}
        with locked(self._folder / "lock"):
            copies, used = self._usage()
            for _, path, freed in sorted(copy for copy in copies if copy[1].name not in spared):
                if used + size <= self.bound:
                    break
                path.unlink(missing_ok=True)
                used -= freed
            if used + size > self.bound:
                return False
            with part.open("wb") as file:
                file.truncate(size)
        return True

    def _usage(self) -> tuple[list[tuple[float, Path, int]], int]:
        """Copies with the times of their last reads and their bytes; bytes of these and of what is being fetched."""
        copies: list[tuple[float, Path, int]] = []
        used = 0
        for path in self._folder.iterdir():
            if path.suffix == ".part" and not is_locked(path.with_suffix(".lock")):
                path.unlink(missing_ok=True)  # its process was killed
                continue
            if path.suffix not in (".tar", ".part"):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # given up since
                continue
            used += status.st_size
            if path.suffix == ".tar":
                copies.append((status.st_mtime, path, status.st_size))
        return copies, used

    def _download_in_the_end(self, number: int, part: Path) -> None:
        for pause in RETRIES_SECONDS:
            try:
                return self._download(number, part)
            except DataError as error:
                _log.warning("%s; trying again in %g s", error, pause)
                time.sleep(pause)
        return self._download(number, part)

    def _download(self, number: int, part: Path) -> None:
        size, done = self._sizes[number], 0
        with opened(self._shards[number].place) as stream, part.open("r+b") as file:
            while chunk := stream.read(_CHUNK):
                done += len(chunk)
                if done > size:
                    break
                file.write(chunk)
        if done != size:
            more = "more than " if done > size else ""
            raise DataError(
                f"{self._shards[number].place}: {more}{min(done, size):,} bytes came instead of {size:,}; "
                "it has changed since it was indexed, or the connection broke: start again (resume=RUN)"
            )
