"""A prepared copy of the images of one label file: shards of pixels, memory-mapped, shared by all processes.

Two kinds. ``raw``: uint8 [side, side, 3] an image, the whole image squashed to a square, as the network sees it. A crop
of it is the same part of the image as the crop of the original; the squash costs no rows and columns that the square
input would not have lost. ``jpeg``: encoded anew with a short side of ``side``, the aspect kept, a tenth of the bytes.

A shard is ``00012.bin`` (images end to end) and ``00012.json``, written after it: a shard without the second is not
there. Its stamp covers settings, names, sizes and modification times of the files it came from, so that a file that
changes makes one shard stale, not the cache. Labels do not enter: pixels do not depend on them.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from src.data.coco.index import CocoIndex
from src.data.errors import DataError, ImageError
from src.data.images.box_decoder import Box
from src.runfolder import replacing

SHARD_IMAGES = 256
JPEG_QUALITY = 90
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """What decides the content of a store, beside the files.

    Attributes:
        kind: ``raw`` or ``jpeg``.
        side: raw: side of the square; jpeg: short side; pixels.
        max_pixels: largest image that was decoded.
    """

    kind: str
    side: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Rows ``start`` to ``stop`` of the index, and the stamp under which they are valid."""

    path: Path
    start: int
    stop: int
    stamp: str

    @property
    def record_path(self) -> Path:
        """Where the shard's record lies."""
        return self.path.with_suffix(".json")


class ShardRecord(msgspec.Struct):
    """What a shard says of itself."""

    stamp: str
    sha256: str
    size: int
    mtime_ns: int
    offsets: list[int]
    """Bytes; image i lies at offsets[i]:offsets[i+1], nothing lies there for a broken one."""
    sizes: list[tuple[int, int]]
    """Width and height of the original files; 0, 0 for a broken one."""
    broken: dict[int, str]
    """Reasons by position in the shard."""


class DamagedShardError(DataError):
    """A shard whose content is not what its record says."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: damaged shard ({reason}); python -m src.prepare with the same data settings mends it"
        )
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["DamagedShardError"], tuple[Path, str]]:
        """Loader workers send exceptions to the main process by pickle."""
        return type(self), (self.path, self.reason)


def store_folder(annotations: Path, cache_dir: Path, spec: StoreSpec) -> Path:
    """Folder of the store of a label file's images."""
    place = hashlib.sha256(str(annotations.resolve()).encode()).hexdigest()[:12]
    return cache_dir / "pixels" / f"{annotations.stem}-{place}-{spec.kind}-{spec.side}"


def plan_shards(index: CocoIndex, image_dir: Path, folder: Path, spec: StoreSpec) -> list[ShardPlan]:
    """The shards that hold the images of ``index`` as they now lie on disk."""
    found = _stat_all(index.file_names(), image_dir)
    settings = [_FORMAT, spec.kind, spec.side, spec.max_pixels, JPEG_QUALITY if spec.kind == "jpeg" else 0]
    plans = []
    for number, start in enumerate(range(0, len(index), SHARD_IMAGES)):
        stop = min(start + SHARD_IMAGES, len(index))
        claimed = [index.widths[start:stop].tolist(), index.heights[start:stop].tolist()]
        stamp = hashlib.sha256(json.dumps([settings, found[start:stop], claimed]).encode()).hexdigest()
        plans.append(ShardPlan(folder / f"{number:05d}.bin", start, stop, stamp))
    return plans


def read_record(plan: ShardPlan, *, verify: bool = False) -> ShardRecord | None:
    """Record of a shard that is there and up to date; None where it is missing or stale.

    The digest is compared once per modification time of the shard: the record notes the time at which it was right.

    Args:
        plan: the shard.
        verify: compare the digest in any case.

    Raises:
        DamagedShardError: it is there, but not whole.
    """
    try:
        record = msgspec.json.decode(plan.record_path.read_bytes(), type=ShardRecord)
        status = plan.path.stat()
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise DamagedShardError(plan.record_path, "unreadable record") from error
    if record.stamp != plan.stamp:
        return None
    if status.st_size != record.size:
        raise DamagedShardError(plan.path, f"{status.st_size:,} bytes instead of {record.size:,}")
    if verify or status.st_mtime_ns != record.mtime_ns:
        if file_digest(plan.path) != record.sha256:
            raise DamagedShardError(plan.path, "its digest is another")
        if status.st_mtime_ns != record.mtime_ns:
            record.mtime_ns = status.st_mtime_ns
            write_record(plan, record)
    return record


def write_record(plan: ShardPlan, record: ShardRecord) -> None:
    """Write a shard's record atomically."""
    with replacing(plan.record_path, "wb") as file:
        file.write(msgspec.json.encode(record))


def file_digest(path: Path) -> str:
    """Sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class StoreFrames:
    """Pixels from a store; see ``Frames``."""

    def __init__(
        self, index: CocoIndex, image_dir: Path, plans: list[ShardPlan], records: list[ShardRecord], spec: StoreSpec
    ) -> None:
        """Map the shards into memory; ``open_store`` reads the records."""
        self._index = index
        self._image_dir = image_dir
        self.side = spec.side
        self._is_raw = spec.kind == "raw"
        self._paths = [plan.path for plan in plans]
        self._shards = [_mapped(plan.path, record) for plan, record in zip(plans, records, strict=True)]
        self._offsets = [np.array(record.offsets, np.int64) for record in records]
        self._sizes_N2 = np.array([size for record in records for size in record.sizes], np.int64).reshape(-1, 2)
        self._broken = {
            plan.start + position: reason
            for plan, record in zip(plans, records, strict=True)
            for position, reason in record.broken.items()
        }

    def __len__(self) -> int:
        return len(self._sizes_N2)

    @property
    def broken(self) -> dict[int, str]:
        """Reasons of the broken images by row of the index."""
        return self._broken

    def blocks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Of a raw store, shard by shard: the first row, and uint8 [n, side, side, 3]; broken images are 0."""
        for number, (data, offsets) in enumerate(zip(self._shards, self._offsets, strict=True)):
            whole = np.diff(offsets) > 0
            block = np.zeros((len(whole), self.side, self.side, 3), np.uint8)
            block[whole] = data.reshape(-1, self.side, self.side, 3)
            yield number * SHARD_IMAGES, block

    def size(self, at: int) -> tuple[int, int]:
        """Width and height of the original file."""
        if at in self._broken:
            raise ImageError(self._image_dir / self._index.file_name(at), self._broken[at])
        width, height = self._sizes_N2[at].tolist()
        return width, height

    def read(self, at: int, *, half: bool = False, box: Box | None = None) -> tuple[NDArray[np.uint8], Box]:
        """RGB, uint8, the whole image; raw: a view of the mapped file, [side, side, 3]."""
        del half, box  # hints: images are small and whole here
        shown = (0, 0, *self._sizes_N2[at].tolist())
        number, position = divmod(at, SHARD_IMAGES)
        start, stop = self._offsets[number][position : position + 2].tolist()
        data = self._shards[number][start:stop]
        if self._is_raw:
            return data.reshape(self.side, self.side, 3), shown
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise DamagedShardError(self._paths[number], f"image {position} cannot be decoded")
        return np.asarray(image, np.uint8), shown


def open_store(index: CocoIndex, image_dir: Path, folder: Path, spec: StoreSpec) -> StoreFrames:
    """Open a complete store.

    Raises:
        DataError: shards are missing, stale or damaged.
    """
    plans = plan_shards(index, image_dir, folder, spec)
    records = [read_record(plan) for plan in plans]
    whole = [record for record in records if record is not None]
    if len(whole) < len(plans):
        raise DataError(
            f"{folder}: {len(plans) - len(whole)} of {len(plans)} shards are missing or older than their images; "
            "python -m src.prepare with the same data settings writes them"
        )
    return StoreFrames(index, image_dir, plans, whole, spec)


def _mapped(path: Path, record: ShardRecord) -> NDArray[np.uint8]:
    if not record.size:  # an empty file cannot be mapped
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r").view(np.ndarray)


def _stat_all(names: list[str], image_dir: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of every file, folder by folder; 0, 0 where there is none."""
    listings: dict[str, dict[str, tuple[int, int]]] = {}
    found = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in listings:
            listings[folder] = _listing(image_dir / folder)
        found.append((name, *listings[folder].get(base, (0, 0))))
    return found


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    try:
        with os.scandir(folder) as entries:
            stats = ((entry.name, entry.stat()) for entry in entries if entry.is_file())
            return {name: (status.st_size, status.st_mtime_ns) for name, status in stats}
    except (FileNotFoundError, NotADirectoryError):
        return {}
