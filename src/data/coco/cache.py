"""Arrays derived from a file, kept on disk and trusted only as long as that file is the same.

Layout of a cache file: 32 bytes of sha256 over the rest, 8 bytes length of the header, the header (json: format, stamp,
and of each array its dtype, shape and place), then the arrays, each at a multiple of 64 bytes. They are mapped into
memory, not read: all processes of a machine share one copy. The digest is compared before anything is believed, so that
a damaged file is simply rebuilt; and only once: a file that was found whole is given the source's modification time,
which any later write to it would change.
"""

import hashlib
import json
import logging
import math
import mmap
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_FORMAT = 2
_DIGEST_BYTES = 32
_LENGTH_BYTES = 8
_ALIGNMENT = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is known of the file that the arrays came from."""

    size: int
    mtime_ns: int
    sha256: str


def cache_path(source: Path, cache_dir: Path, *, suffix: str = ".index") -> Path:
    """Cache file of ``source``; two sources of the same name do not share one."""
    place = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:12]
    return cache_dir / f"{source.stem}-{place}{suffix}"


def read(path: Path, source: Path, sha256: Callable[[], str]) -> Arrays | None:
    """Cached arrays, or None where there is no valid cache.

    Same size and modification time: trusted. Same size, other time: trusted if the content's hash is the same, and
    the new time is noted.

    Args:
        path: cache file.
        source: file the arrays came from.
        sha256: hash of ``source``, hexadecimal; called only where the times differ.
    """
    entry = _load(path)
    if entry is None:
        return None
    arrays, stamp = entry
    now = source.stat()
    if now.st_size != stamp.size:
        return None
    if now.st_mtime_ns != stamp.mtime_ns:
        if sha256() != stamp.sha256:
            return None
        write(path, arrays, Stamp(now.st_size, now.st_mtime_ns, stamp.sha256))
    return arrays


def write(path: Path, arrays: Arrays, stamp: Stamp) -> None:
    """Store ``arrays`` atomically; readers see the old file or the new one, never a part.

    A cache that cannot be written costs time in the next run, nothing else: it is logged, not raised.
    """
    content = _packed(arrays, stamp)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.utime(temporary, ns=(stamp.mtime_ns, stamp.mtime_ns))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s: cache not written (%s); the next run reads the json again", path, error.strerror)


def _packed(arrays: Arrays, stamp: Stamp) -> bytearray:
    """Everything behind the digest."""
    places: dict[str, Any] = {}
    end = 0
    for key, array in arrays.items():
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        places[key] = [array.dtype.str, list(array.shape), start]
        end = start + array.nbytes
    header = json.dumps([_FORMAT, [stamp.size, stamp.mtime_ns, stamp.sha256], places]).encode()
    base = _base(len(header))
    content = bytearray(base + end - _DIGEST_BYTES)
    content[:_LENGTH_BYTES] = len(header).to_bytes(_LENGTH_BYTES, "little")
    content[_LENGTH_BYTES : _LENGTH_BYTES + len(header)] = header
    for key, array in arrays.items():
        start = base - _DIGEST_BYTES + places[key][2]
        content[start : start + array.nbytes] = array.tobytes()
    return content


def _base(header_bytes: int) -> int:
    """Where the arrays begin in the file."""
    return -(-(_DIGEST_BYTES + _LENGTH_BYTES + header_bytes) // _ALIGNMENT) * _ALIGNMENT


def _load(path: Path) -> tuple[dict[str, NDArray[Any]], Stamp] | None:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else None
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s: cache not readable (%s); reading the json again", path, error.strerror)
        return None
    found = mapped and _unpacked(mapped, path, status.st_mtime_ns)
    if not found:
        _log.warning("%s: damaged cache; reading the json again", path)
        return None
    version, arrays, stamp = found
    return (arrays, stamp) if version == _FORMAT else None


def _unpacked(mapped: mmap.mmap, path: Path, mtime_ns: int) -> tuple[int, dict[str, NDArray[Any]], Stamp] | None:
    """Format, arrays over the mapped file, stamp; None where the file is not what was written."""
    try:
        length = int.from_bytes(mapped[_DIGEST_BYTES : _DIGEST_BYTES + _LENGTH_BYTES], "little")
        header = mapped[_DIGEST_BYTES + _LENGTH_BYTES : _DIGEST_BYTES + _LENGTH_BYTES + length]
        version, stamp, places = json.loads(header)
        if mtime_ns != stamp[1]:
            with memoryview(mapped) as content:
                if hashlib.sha256(content[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
                    return None
            _note_whole(path, stamp[1])
        arrays = {
            key: np.frombuffer(mapped, dtype, count=math.prod(shape), offset=_base(length) + start).reshape(shape)
            for key, (dtype, shape, start) in places.items()
        }
        return version, arrays, Stamp(*stamp)
    except (ValueError, TypeError):  # not json, not the header's shape, or arrays beyond the end of the file
        return None


def _note_whole(path: Path, mtime_ns: int) -> None:
    try:
        os.utime(path, ns=(mtime_ns, mtime_ns))
    except OSError as error:  # somebody else's cache: it is compared again next time
        _log.info("%s: whole, but this cannot be noted (%s)", path, error.strerror)
