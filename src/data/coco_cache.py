"""Arrays derived from a file, kept on disk and trusted only as long as that file is the same.

Layout of a cache file: 32 bytes of sha256 over the rest, then a numpy archive. The digest is checked before numpy
sees a byte, so that a damaged file is simply rebuilt.
"""

import hashlib
import io
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_FORMAT = 1
_DIGEST_BYTES = 32
_STAMP = "stamp"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is known of the file that the arrays came from."""

    size: int
    mtime_ns: int
    sha256: str


def cache_path(source: Path, cache_dir: Path) -> Path:
    """Cache file of ``source``; two sources of the same name do not share one."""
    place = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:12]
    return cache_dir / f"{source.stem}-{place}.index"


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
    buffer = io.BytesIO()
    header = json.dumps([_FORMAT, stamp.size, stamp.mtime_ns, stamp.sha256])
    np.savez(buffer, allow_pickle=False, **{_STAMP: np.array(header)}, **arrays)
    content = buffer.getbuffer()
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s: cache not written (%s); the next run reads the json again", path, error.strerror)


def _load(path: Path) -> tuple[dict[str, NDArray[Any]], Stamp] | None:
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s: cache not readable (%s); reading the json again", path, error.strerror)
        return None
    digest, archive = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(archive).digest() != digest:
        _log.warning("%s: damaged cache; reading the json again", path)
        return None
    with np.load(io.BytesIO(archive), allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    version, *stamp = json.loads(str(arrays.pop(_STAMP)))
    return (arrays, Stamp(*stamp)) if version == _FORMAT else None
