"""Reading an instances json: typed, streaming past polygons, with a place for every complaint."""

import hashlib
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from src.data.errors import DataError

_T = TypeVar("_T")
_Number = TypeVar("_Number", bound=np.generic)
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Pixels = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_BYTE = re.compile(r"\(byte (\d+)\)")
_CHUNK = 2**20
_LEADING_BOM = b"\xef\xbb\xbf"


class ImageRecord(msgspec.Struct, gc=False):
    """One element of ``images``."""

    id: _Int64
    file_name: str
    width: _Pixels | None = None
    height: _Pixels | None = None


class AnnotationRecord(msgspec.Struct, gc=False):
    """One element of ``annotations``; polygons and boxes are skipped by the decoder."""

    id: _Int64
    image_id: _Int64
    category_id: _Int64
    area: float | None = None
    iscrowd: int | bool = 0


class CategoryRecord(msgspec.Struct, gc=False):
    """One element of ``categories``."""

    id: _Int64
    name: str


class _Instances(msgspec.Struct):
    """The three tables of an instances json; None where a key is absent."""

    images: list[ImageRecord] | None = None
    annotations: list[AnnotationRecord] | None = None
    categories: list[CategoryRecord] | None = None


class _Box(msgspec.Struct, gc=False):
    bbox: tuple[float, float, float, float] | None = None


class _Boxes(msgspec.Struct):
    annotations: list[_Box]


def column(records: Sequence[msgspec.Struct], name: str, dtype: type[_Number]) -> NDArray[_Number]:
    """A number of every record, [N]; None becomes NaN in a column of floats."""
    return np.fromiter(map(attrgetter(name), records), dtype, len(records))


class Document:
    """An open json file, mapped into memory instead of read."""

    def __init__(self, path: Path, content: memoryview) -> None:
        self.path = path
        self._content = content

    def sha256(self) -> str:
        """Hash of the file, hexadecimal."""
        return hashlib.sha256(self._content).hexdigest()

    def tables(self) -> tuple[list[ImageRecord], list[AnnotationRecord], list[CategoryRecord]]:
        """Images, annotations and categories.

        Raises:
            DataError: not json, or not an instances file.
        """
        found = self._decode(_Instances)
        if found.images is None or found.annotations is None or found.categories is None:
            absent = [f"'{key}'" for key in ("images", "annotations", "categories") if getattr(found, key) is None]
            raise DataError(f"{self.path}: not an instances file: no {' and no '.join(absent)} at top level")
        return found.images, found.annotations, found.categories

    def box_areas(self) -> list[float]:
        """Width times height of every annotation's ``bbox``, 0 without one: for files that give no ``area``."""
        boxes = [box.bbox or (0.0, 0.0, 0.0, 0.0) for box in self._decode(_Boxes).annotations]
        return [width * height for _, _, width, height in boxes]

    def _decode(self, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(self._content, type=kind)
        except msgspec.ValidationError as error:
            problem = str(error).replace(" - at `$.", " at `")
            raise DataError(f"{self.path}: not an instances file: {problem}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(self._malformed(error)) from error

    def _malformed(self, error: Exception) -> str:
        """Message for a syntax error, with line and byte: COCO writes its files as one long line."""
        found = _BYTE.search(str(error))
        if isinstance(error, UnicodeDecodeError):
            return f"{self.path}: not UTF-8 text: {error.reason}; write the json again as UTF-8"
        if found is None:
            size = len(self._content)
            return f"{self.path}: truncated json: ends at byte {size:,} (line {self._line(size)}); copy it again"
        if self._content[:3] == _LEADING_BOM:
            return f"{self.path}: begins with a byte order mark; write the json again as plain UTF-8"
        position = int(found.group(1))
        reason = str(error).removeprefix("JSON is malformed: ").split(" (byte")[0]
        near = bytes(self._content[max(0, position - 20) : position + 20]).decode(errors="replace")
        place = f"line {self._line(position)}, byte {position:,}"
        return f"{self.path}: malformed json at {place}: {reason}, near {near!r}"

    def _line(self, position: int) -> int:
        starts = range(0, position, _CHUNK)
        return 1 + sum(bytes(self._content[start : min(start + _CHUNK, position)]).count(b"\n") for start in starts)


@contextmanager
def open_document(path: Path) -> Iterator[Document]:
    """Map a json file into memory.

    Raises:
        DataError: no such file, not readable, or empty.
    """
    with _map_file(path) as mapped, memoryview(mapped) as content:
        yield Document(path, content)


def _map_file(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise DataError(f"{path}: empty file; copy it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        message = f"{path}: no such file; data.root=PATH names the folder that holds annotations/ and the images"
        raise DataError(message) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
