"""Which image lies where in which tar shard: read from the headers once, kept, read again where a shard has changed."""

import logging
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from src.data.errors import DataError
from src.data.listing import SUFFIXES
from src.data.tar.shards import PARALLEL, TarShard, opened
from src.locks import locked
from src.runfolder import replacing

_FORMAT = 1
_BLOCK = 512
_CHUNK = 1 << 20
_log = logging.getLogger(__name__)


class TarRecord(msgspec.Struct):
    """What a shard holds."""

    format: int
    stamp: str
    """The shard's when it was read."""
    size: int
    """Bytes of the tar."""
    names: list[str]
    """Of its images, as in the tar."""
    offsets: list[int]
    """Where each image begins, bytes."""
    sizes: list[int]
    """Of each image, bytes."""


def index_shards(
    shards: Sequence[TarShard], folder: Path, *, on_shards: Callable[[int, int], None] | None = None
) -> list[TarRecord]:
    """What the shards hold, from ``folder`` where that is still valid.

    A local shard is scanned header by header. A remote one has to be fetched whole for it, though it is not kept.

    Args:
        shards: the shards.
        folder: where records are kept, one a shard.
        on_shards: told how many shards are done, and of how many, when some had to be read.

    Raises:
        DataError: a shard that is not a plain tar, ends early or cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock"):  # other processes of the run find what the first has read
        records: dict[str, TarRecord | None] = {shard.place: _kept(shard, folder) for shard in shards}
        unknown = [shard for shard in shards if records[shard.place] is None]
        with ThreadPoolExecutor(min(PARALLEL, max(len(unknown), 1))) as pool:
            for done, (shard, record) in enumerate(zip(unknown, pool.map(scan, unknown), strict=True), start=1):
                records[shard.place] = record
                with replacing(folder / f"{shard.key}.index", "wb") as file:
                    file.write(msgspec.msgpack.encode(record))
                if on_shards:
                    on_shards(done, len(unknown))
    return [found for shard in shards if (found := records[shard.place]) is not None]


def scan(shard: TarShard) -> TarRecord:
    """Read all headers of a shard.

    Raises:
        DataError: as ``index_shards``.
    """
    record = TarRecord(format=_FORMAT, stamp=shard.stamp, size=0, names=[], offsets=[], sizes=[])
    with opened(shard.place) as stream:
        counted = _Counted(stream)
        try:
            with _tar(counted, piped=shard.is_remote) as tar:
                for member in tar:
                    if _is_image(member):
                        record.names.append(member.name)
                        record.offsets.append(member.offset_data)
                        record.sizes.append(member.size)
                    tar.members = []  # type: ignore[attr-defined]  # else every header stays in memory
                end = tar.offset
        except (tarfile.TarError, EOFError) as error:
            raise DataError(f"{shard.place}: {_reason(counted, error)}") from error
        record.size = counted.length()
    if record.size < end + _BLOCK:
        raise DataError(f"{shard.place}: ends after {record.size:,} bytes without a tar's end mark (incomplete copy?)")
    return record


class _Counted:
    """A stream that knows how long it was; seekable where the stream is."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.start = b""
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.start = self.start or data[:4]
        self._count += len(data)
        return data

    def seek(self, offset: int) -> int:
        return self._stream.seek(offset)

    def tell(self) -> int:
        return self._stream.tell()

    def length(self) -> int:
        """Bytes to the end, which is where this leaves the stream."""
        if hasattr(self._stream, "seek"):
            return self._stream.seek(0, 2)
        while self.read(_CHUNK):
            pass
        return self._count


def _tar(stream: _Counted, *, piped: bool) -> tarfile.TarFile:
    """Seeks from header to header where it can; what comes through a pipe can only be read on."""
    if piped:
        return tarfile.open(fileobj=cast("BinaryIO", stream), mode="r|")
    return tarfile.open(fileobj=cast("BinaryIO", stream), mode="r:")


def _is_image(member: tarfile.TarInfo) -> bool:
    base = member.name.rpartition("/")[2]
    return member.isreg() and not base.startswith((".", "__")) and base.lower().endswith(SUFFIXES)


def _reason(stream: _Counted, error: Exception) -> str:
    if not stream.start:
        return "empty, not a tar"
    if stream.start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")):
        return "is compressed; images in it cannot be reached one by one: unpack it to a plain tar"
    return f"damaged or incomplete tar ({error})"


def _kept(shard: TarShard, folder: Path) -> TarRecord | None:
    path = folder / f"{shard.key}.index"
    try:
        record = msgspec.msgpack.decode(path.read_bytes(), type=TarRecord)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        _log.warning("%s: damaged; reading the shard's headers again", path)
        return None
    return record if (record.format, record.stamp) == (_FORMAT, shard.stamp) else None
