"""Small JPEG copies of images, for pages that carry their pictures with them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.errors import ImageError
from src.data.images.reading import read_image

SIDE = 160
QUALITY = 75


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG."""

    jpeg: bytes
    width: int
    height: int


def read_thumbnail(path: Path, *, max_pixels: int, side: int = SIDE) -> Thumbnail:
    """Read an image as training does (see ``read_image``) and shrink it to fit a square; it is never enlarged.

    Args:
        path: JPEG or PNG.
        max_pixels: largest width x height that is decoded at all.
        side: of the square, in pixels.

    Raises:
        ImageError: the image cannot be read.
    """
    return _encoded(shrink(read_image(path, expected=None, max_pixels=max_pixels), side=side), path)


def shrink(image: NDArray[np.uint8], *, side: int) -> NDArray[np.uint8]:
    """Scale RGB [H, W, 3] to fit into a square of ``side`` pixels, keeping its shape; no side falls below one pixel."""
    height, width = image.shape[:2]
    scale = min(side / max(height, width), 1.0)
    if scale == 1.0:
        return image
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(image: NDArray[np.uint8], path: Path) -> Thumbnail:
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ImageError(path, "cannot be encoded as a JPEG")
    return Thumbnail(jpeg.tobytes(), width=image.shape[1], height=image.shape[0])
