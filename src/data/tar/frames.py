"""Images read from tar shards: where each lies, and its bytes."""

import os
from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from src.config.schema.data import DataConfig
from src.data.coco.index import CocoIndex
from src.data.errors import DataError, ImageError
from src.data.frames import claimed_size
from src.data.images.box_decoder import Box
from src.data.images.reading import bytes_size, check, decode_part
from src.data.order import ByShard
from src.data.tar.ahead import TarsAhead
from src.data.tar.folder import TarFolder
from src.data.tar.index import TarRecord, index_shards
from src.data.tar.match import match_members
from src.data.tar.shards import TarShard, find_shards, remote
from src.runfolder import replacing

_OPEN_FILES = 64


class TarFrames:
    """Pixels from tar shards; see ``Frames``. Reads no more than the image itself of a local shard."""

    def __init__(
        self,
        index: CocoIndex,
        shards: list[TarShard],
        records: list[TarRecord],
        members: NDArray[np.int64],
        folder: TarFolder,
        *,
        window: int,
        max_pixels: int,
    ) -> None:
        """``open_tars`` finds these; ``members`` are positions among the members of all shards, int64 [N]."""
        counts = [len(record.names) for record in records]
        self._index = index
        self._shards = shards
        self._folder = folder
        self._window = window
        self._max_pixels = max_pixels
        self._file_sizes = [record.size for record in records]
        self.shards_N = np.repeat(np.arange(len(records), dtype=np.int32), counts)[members]
        """int32 [N], shard of each row of the index."""
        self._offsets_N = np.fromiter((at for record in records for at in record.offsets), np.int64)[members]
        self._sizes_N = np.fromiter((size for record in records for size in record.sizes), np.int64)[members]
        self._files = _LocalFiles()
        self._kept: Path | None = None

    def keeping(self, folder: Path) -> "TarFrames":
        """The same images; of remote shards, each one that is read is kept in ``folder``, and its shard needed once."""
        if not remote(self._shards):
            return self
        other = copy(self)
        other._kept = folder
        return other

    def size(self, at: int) -> tuple[int, int]:
        """As annotated; where the annotations do not say, from the image's header."""
        return claimed_size(self._index, at) or bytes_size(self._bytes(at), self._name(at))

    def read(self, at: int, *, half: bool = False, box: Box | None = None) -> tuple[NDArray[np.uint8], Box]:
        """Decode the image; see ``read_image``."""
        data, name = self._bytes(at), self._name(at)
        try:
            header = check(data, name, expected=claimed_size(self._index, at), max_pixels=self._max_pixels)
            return decode_part(data, header, name, half=half, box=box)
        except ImageError as error:
            raise ImageError(error.path, f"{error.reason} (in {self._place(at)})") from error

    def by_shard(self, rows: NDArray[np.int64], *, lag: int) -> ByShard:
        """How an epoch over these rows of the index goes through the shards; remote ones are fetched ahead.

        Args:
            rows: int64 [N], rows of the index that make up a split.
            lag: images that may be waiting in loader workers.
        """
        ahead = None
        if remote(self._shards):
            ahead = TarsAhead(self._folder, lambda chosen: self._to_fetch(rows[chosen]), self._file_sizes, lag=lag)
        return ByShard(self.shards_N[rows], self._window, ahead)

    @property
    def total_bytes(self) -> int:
        """Of all shards."""
        return sum(self._file_sizes)

    def describe(self) -> str:
        """Number, size, and what is done with them, in a line."""
        mixed = f"mixed {self._window or 'all'} at a time"
        total = f"{len(self._shards):,} tar shards, {self.total_bytes / 1e9:.2f} GB, {mixed}"
        return f"{total}; copies of up to {self._folder.bound / 1e9:.1f} GB" if remote(self._shards) else total

    def _name(self, at: int) -> Path:
        return Path(self._index.file_name(at))

    def _place(self, at: int) -> str:
        return self._shards[int(self.shards_N[at])].place

    def _to_fetch(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """The remote shard of each of these images, -1 where none is needed."""
        shards_L = self.shards_N[places]
        is_local = np.array([not shard.is_remote for shard in self._shards])[shards_L]
        if self._kept:
            is_local |= np.array([self._kept_path(self._kept, at).exists() for at in places.tolist()], np.bool_)
        return np.where(is_local, np.int32(-1), shards_L)

    def _kept_path(self, folder: Path, at: int) -> Path:
        shard = self._shards[int(self.shards_N[at])]
        return folder / shard.version / str(self._offsets_N[at])

    def _bytes(self, at: int) -> bytes:
        if self._kept is None:
            return self._from_shard(at)
        path = self._kept_path(self._kept, at)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            data = self._from_shard(at)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, "wb") as file:
            file.write(data)
        return data

    def _from_shard(self, at: int) -> bytes:
        number, offset, size = int(self.shards_N[at]), int(self._offsets_N[at]), int(self._sizes_N[at])
        shard = self._shards[number]
        if shard.is_remote:
            with self._folder.open(number) as file:
                data = os.pread(file.fileno(), size, offset)
        else:
            data = os.pread(self._files.open(shard.place).fileno(), size, offset)
        if len(data) < size:
            raise DataError(f"{shard.place}: ends before {self._name(at)} does; it has changed since it was indexed")
        return data


class _LocalFiles:
    """Shards kept open: a network disk takes milliseconds to open one. Read by ``pread``, so forks may share them."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, BinaryIO] = OrderedDict()

    def open(self, place: str) -> BinaryIO:
        file = self._files.pop(place, None)
        if file is None:
            try:
                file = Path(place).open("rb", buffering=0)  # noqa: SIM115  closed when it is the oldest
            except OSError as error:
                raise DataError(f"{place}: cannot be read: {error.strerror}") from error
        self._files[place] = file
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return file

    def __reduce__(self) -> tuple[type["_LocalFiles"], tuple[()]]:
        """Workers that are not forked open their own."""
        return type(self), ()


def open_tars(
    index: CocoIndex,
    annotations: Path,
    data: DataConfig,
    *,
    cache_dir: Path,
    on_shards: Callable[[int, int], None] | None = None,
) -> TarFrames:
    """The images of a label file in the shards that ``data.shards`` names.

    Args:
        index: the images.
        annotations: their label file, for errors.
        data: shards, window, bound of copies, pixel limit.
        cache_dir: for records of the shards, and copies of remote ones.
        on_shards: told how many shards of those to index are done, and of how many.

    Raises:
        DataError: shards missing, damaged or compressed, images in no shard or in several, copies that do not fit.
    """
    shards = find_shards(data.shards)
    records = index_shards(shards, cache_dir / "shards", on_shards=on_shards)
    names = [index.file_name(row) for row in range(len(index))]
    members = [name for record in records for name in record.names]
    places = [shard.place for shard, record in zip(shards, records, strict=True) for _ in record.names]
    found = match_members(names, members, places, what=f"{annotations} and data.shards={data.shards}")
    sizes, bound = [record.size for record in records], int(data.shard_cache_gb * 1e9)
    if remote(shards):
        _require_room(sizes, data.shard_window, bound)
    folder = TarFolder(cache_dir / "shards" / "copies", shards, sizes, bound=bound)
    return TarFrames(index, shards, records, found, folder, window=data.shard_window, max_pixels=data.max_pixels)


def _require_room(sizes: list[int], window: int, bound: int) -> None:
    """A window of shards is read while the next one comes in."""
    held = min(2 * window or len(sizes), len(sizes))
    need = sum(sorted(sizes)[-held:])
    if need > bound:
        raise DataError(
            f"data.shard_cache_gb={bound / 1e9:g}: {held} shards (two windows) take {need / 1e9:.3g} GB; "
            "a larger bound, or a smaller data.shard_window"
        )
