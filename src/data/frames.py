"""Where the pixels of an image come from: its file, or a cache prepared from the files."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from src.data.coco.index import CocoIndex
from src.data.errors import ImageError
from src.data.images.box_decoder import Box
from src.data.images.header import Header
from src.data.images.reading import decode, decode_part, image_size, read_checked


class Frames(Protocol):
    """Pixels by row of the index."""

    def size(self, at: int) -> tuple[int, int]:
        """Width and height of the original file.

        Raises:
            ImageError: it cannot be told.
        """

    def read(self, at: int, *, half: bool = False, box: Box | None = None) -> tuple[NDArray[np.uint8], Box]:
        """RGB, uint8 [H, W, 3], at a scale of the source's choice, and what of the original they show.

        Args:
            at: row of the index.
            half: half the size is enough.
            box: this part of the original is enough; None asks for all.

        Raises:
            ImageError: the image cannot be used.
        """


class FileFrames:
    """The image files themselves."""

    def __init__(self, index: CocoIndex, image_dir: Path, *, max_pixels: int) -> None:
        """Choose the folder.

        Args:
            index: file names and the sizes that the files should have.
            image_dir: folder of the images.
            max_pixels: largest image that is decoded.
        """
        self._index = index
        self._image_dir = image_dir
        self._max_pixels = max_pixels

    def size(self, at: int) -> tuple[int, int]:
        """As annotated; where the annotations do not say, from the file's header."""
        return claimed_size(self._index, at) or image_size(self._path(at))

    def read(self, at: int, *, half: bool = False, box: Box | None = None) -> tuple[NDArray[np.uint8], Box]:
        """Decode the file; see ``read_image``."""
        path = self._path(at)
        data, header = read_checked(path, expected=claimed_size(self._index, at), max_pixels=self._max_pixels)
        return decode_part(data, header, path, half=half, box=box)

    def encoded(self, at: int) -> tuple[bytes, Header]:
        """The file itself, checked but not decoded; see ``read_checked``.

        Raises:
            ImageError: it cannot be used.
        """
        return read_checked(self._path(at), expected=claimed_size(self._index, at), max_pixels=self._max_pixels)

    def decode(self, at: int, data: bytes) -> NDArray[np.uint8]:
        """Pixels of what ``encoded`` gave.

        Raises:
            ImageError: damaged.
        """
        return decode(data, self._path(at))

    def _path(self, at: int) -> Path:
        return self._image_dir / self._index.file_name(at)


def claimed_size(index: CocoIndex, at: int) -> tuple[int, int] | None:
    """Width and height by the annotations; None where they do not say."""
    width, height = int(index.widths[at]), int(index.heights[at])
    return (width, height) if width > 0 and height > 0 else None


def named(error: ImageError, index: CocoIndex, at: int) -> ImageError:
    """The error with COCO's number of the image."""
    return ImageError(error.path, f"{error.reason} (image id {int(index.image_ids[at])})")
