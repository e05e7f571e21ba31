"""A look at the image files themselves: sizes, kinds, damage, brightness."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.coco.index import CocoIndex
from src.data.errors import ImageError
from src.data.images.header import read_header
from src.data.images.reading import read_image


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, middle and largest of some values; nan of none."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, slots=True)
class DarkImage:
    """An image and its mean over pixels and channels, 0..255."""

    path: Path
    brightness: float


@dataclass(frozen=True, slots=True)
class ImageHealth:
    """What reading a choice of the images has shown.

    Attributes:
        total: images of the index.
        checked: images that were read.
        widths: of the readable images, pixels.
        heights: of the readable images, pixels.
        kinds: format, colour and depth of the readable images, most frequent first, e.g. ``{"JPEG RGB": 1990}``.
        rotated: readable images whose Exif orientation asks for a rotation (which is ignored, as COCO's boxes do).
        brightness: mean over pixels and channels of each readable image, 0..255.
        normalized: the same after division by 255 and normalisation per channel, as the network sees it.
        darkest: the darkest images, darkest first.
        broken: images that cannot be used, each with its path and reason.
    """

    total: int
    checked: int
    widths: Spread
    heights: Spread
    kinds: Mapping[str, int]
    rotated: int
    brightness: Spread
    normalized: Spread
    darkest: tuple[DarkImage, ...]
    broken: tuple[ImageError, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    path: Path
    width: int
    height: int
    kind: str
    rotated: bool
    channel_means: NDArray[np.float64]


def image_health(
    index: CocoIndex,
    image_dir: Path,
    *,
    images: int,
    seed: int,
    darkest: int,
    max_pixels: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> ImageHealth:
    """Read a seeded choice of the images; a broken one is counted and named, not fatal.

    Args:
        index: the images, with the sizes they should have.
        image_dir: where they lie.
        images: how many to read; -1 or more than there are reads all.
        seed: seed of the choice.
        darkest: how many of the darkest to name.
        max_pixels: largest width x height that is decoded at all.
        mean: per channel, R, G, B, of pixels in [0, 1]: the network's normalisation.
        std: per channel, likewise.
    """
    rows = np.arange(len(index))
    if 0 <= images < len(index):
        rows = np.sort(np.random.default_rng(seed).choice(rows, size=images, replace=False))
    looks: list[_Look] = []
    broken: list[ImageError] = []
    for row in rows.tolist():
        try:
            looks.append(_look(index, row, image_dir, max_pixels))
        except ImageError as error:
            broken.append(error)
    return _summarize(looks, broken, total=len(index), darkest=darkest, mean=mean, std=std)


def _look(index: CocoIndex, row: int, image_dir: Path, max_pixels: int) -> _Look:
    path = image_dir / index.file_name(row)
    expected = (int(index.widths[row]), int(index.heights[row]))
    image_HWC = read_image(path, expected=expected if all(expected) else None, max_pixels=max_pixels)
    with path.open("rb") as stream:
        header = read_header(stream)
    return _Look(
        path=path,
        width=image_HWC.shape[1],
        height=image_HWC.shape[0],
        kind=header.kind if header else "other",
        rotated=header is not None and header.orientation != 1,
        channel_means=np.array(cv2.mean(image_HWC)[:3]),
    )


def _summarize(
    looks: Sequence[_Look],
    broken: Sequence[ImageError],
    *,
    total: int,
    darkest: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> ImageHealth:
    means_NRGB = np.array([look.channel_means for look in looks]).reshape(-1, 3)
    brightness_N = means_NRGB.mean(axis=1)
    normalized_N = ((means_NRGB / 255 - np.asarray(mean)) / np.asarray(std)).mean(axis=1)
    order = np.argsort(brightness_N, kind="stable")[:darkest].tolist()
    return ImageHealth(
        total=total,
        checked=len(looks) + len(broken),
        widths=_spread([look.width for look in looks]),
        heights=_spread([look.height for look in looks]),
        kinds=dict(Counter(look.kind for look in looks).most_common()),
        rotated=sum(look.rotated for look in looks),
        brightness=_spread(brightness_N),
        normalized=_spread(normalized_N),
        darkest=tuple(DarkImage(looks[i].path, float(brightness_N[i])) for i in order),
        broken=tuple(broken),
    )


def _spread(values: Sequence[float] | NDArray[np.float64]) -> Spread:
    if not len(values):
        return Spread(float("nan"), float("nan"), float("nan"))
    return Spread(float(np.min(values)), float(np.median(values)), float(np.max(values)))
