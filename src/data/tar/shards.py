"""Where tar shards lie: names, patterns and lists of them, on disks or behind URLs.

Ranges are expanded, and URLs opened, by the library webdataset (extra ``shards``), which knows http(s), gs, hf, ais,
sftp and ``pipe:COMMAND``. What it does not give is the stamp by which a changed shard is known.
"""

import hashlib
import importlib
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from src.data.coco.checks import shown
from src.data.errors import DataError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")
_WAITING_SECONDS = 30
PARALLEL = 16
"""Shards asked about at once: a request takes tens of milliseconds, nearly all of it waiting."""


@dataclass(frozen=True, slots=True)
class TarShard:
    """One tar file.

    Attributes:
        place: path or URL.
        stamp: what changes when the file does: size and modification time, or a server's length and ETag; empty where
            nothing can be told.
    """

    place: str
    stamp: str

    @property
    def is_remote(self) -> bool:
        """Whether it must be fetched before parts of it can be read."""
        return _SCHEME.match(self.place) is not None

    @property
    def key(self) -> str:
        """A file name for what is noted of this shard; two shards of one name do not share it."""
        stem = re.sub(r"[^\w.-]", "_", self.place.rpartition("/")[2])[-80:]
        return f"{stem}-{_digest(self.place)}"

    @property
    def version(self) -> str:
        """A file name for what is copied from this shard as it is now."""
        return f"{self.key}-{_digest(self.stamp)}"


class _Entry(msgspec.Struct):
    url: str


class _ShardList(msgspec.Struct):
    """The part of webdataset's shard index (``wids-shard-index-v1``) that is needed."""

    shardlist: list[_Entry]


def find_shards(pattern: str) -> list[TarShard]:
    """The shards that ``data.shards`` names, in the order of the list, a glob's by name.

    Args:
        pattern: a path with * and ?, paths or URLs with braces (``train-{0000..0146}.tar``; several joined by ``::``),
            or a json whose ``shardlist`` holds ``url``s, relative to it.

    Raises:
        DataError: nothing there, or some of them missing: the first ten and how many.
    """
    places = _expand(pattern)
    repeated = sorted({place for place in places if places.count(place) > 1}) if len(set(places)) < len(places) else []
    if repeated:
        raise DataError(f"data.shards={pattern}: named twice: {shown(repeated)}")
    with ThreadPoolExecutor(PARALLEL) as pool:
        stamps = list(pool.map(_stamp, places))
    missing = [place for place, stamp in zip(places, stamps, strict=True) if stamp is None]
    if missing:
        count, listing = f"{len(missing):,} of {len(places):,} shards are missing", shown(missing, "\n  ")
        raise DataError(f"data.shards={pattern}: {count}; copy them, or correct the range:\n  {listing}")
    return [TarShard(place, stamp or "") for place, stamp in zip(places, stamps, strict=True)]


@contextmanager
def opened(place: str) -> Iterator[BinaryIO]:
    """A shard's bytes from its beginning, from wherever it lies.

    Raises:
        DataError: it cannot be read, or not to its end.
    """
    if _SCHEME.match(place) is None:
        try:
            with Path(place).open("rb") as stream:
                yield stream
        except OSError as error:
            raise DataError(f"{place}: cannot be read: {error.strerror}") from error
        return
    _require_library(place)
    from webdataset.gopen import gopen

    try:
        stream = gopen(place)
    except FileNotFoundError as error:
        raise DataError(f"{place}: needs the program {error.filename}, which is not installed") from error
    except ValueError as error:
        raise DataError(
            f"{place}: webdataset cannot open such a URL ({error}); pipe:COMMAND runs any program"
        ) from error
    try:
        with stream:
            yield stream
    except OSError as error:  # the library's text names the program it called and its exit status
        raise DataError(f"{place}: cannot be fetched: {error}") from error


def _expand(pattern: str) -> list[str]:
    if pattern.endswith(".json"):
        return _listed(pattern)
    if _SCHEME.match(pattern) is None and not re.search(r"[{]|::", pattern):
        whole = Path(pattern).expanduser().absolute()
        found = sorted(map(str, Path(whole.anchor).glob(str(whole.relative_to(whole.anchor)))))
        if not found:
            raise DataError(f"data.shards={pattern}: no such file; a path with *, a range {{0000..0146}}, or a URL")
        return found
    _require_library(pattern)
    from webdataset.shardlists import expand_urls

    urls: list[str] = expand_urls(pattern)
    return [url if _SCHEME.match(url) else str(Path(url).expanduser()) for url in urls]


def _listed(place: str) -> list[str]:
    """Shards of a json, relative to it."""
    with opened(place) as stream:
        content = stream.read()
    try:
        urls = [entry.url for entry in msgspec.json.decode(content, type=_ShardList).shardlist]
    except msgspec.DecodeError as error:
        raise DataError(f"{place}: not a list of shards ({error}); {{'shardlist': [{{'url': NAME}}, ...]}}") from error
    if not urls:
        raise DataError(f"{place}: its shardlist is empty")
    if _SCHEME.match(place):
        return [urllib.parse.urljoin(place, url) for url in urls]
    return [url if _SCHEME.match(url) else str(Path(place).parent / url) for url in urls]


def _stamp(place: str) -> str | None:
    """What changes when the shard does; None where it is missing."""
    if place.startswith(("http:", "https:")):
        return _http_stamp(place)
    if _SCHEME.match(place):
        return ""  # the program that fetches it knows, we do not
    try:
        status = Path(place).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return f"{status.st_size}:{status.st_mtime_ns}"


def _http_stamp(url: str) -> str | None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_WAITING_SECONDS) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        return None if error.code in (404, 410) else ""  # signed URLs answer GET alone
    except (urllib.error.URLError, TimeoutError) as error:
        raise DataError(f"{url}: the server cannot be reached: {getattr(error, 'reason', error)}") from error
    return f"{headers.get('Content-Length', '')}:{headers.get('ETag') or headers.get('Last-Modified', '')}"


def _require_library(what: str) -> None:
    try:
        importlib.import_module("webdataset")
    except ImportError:
        raise DataError(
            f"data.shards={what}: ranges and URLs are read by the library webdataset, which is not installed; "
            "pip install 'webdataset>=1.0', or '.[shards]' in a checkout; local files work without it: PATH/*.tar"
        ) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def remote(shards: Sequence[TarShard]) -> bool:
    """Whether any of them must be fetched."""
    return any(shard.is_remote for shard in shards)
