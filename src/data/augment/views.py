"""Which part of an image is shown, and how: drawn for a whole batch at once, as a function of (seed, epoch, row).

A view is a box in the pixels of the original file, a flip and two factors. Where the pixels come from (the file, a
prepared cache, the memory of a GPU) does not enter, so every source shows the same part of the same image. B images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.config.schema.data import AugmentConfig
from src.data.images.box_decoder import Box
from src.data.order import Key

ATTEMPTS = 10
"""Boxes tried before the centre is taken, as torchvision and albumentations do."""
_FLIP, _BRIGHTNESS, _CONTRAST, _ORDER, _TOP, _LEFT, _BOXES = 0, 1, 2, 3, 4, 5, 6
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """What of each image is shown.

    Attributes:
        boxes_B4: int64, left, top, right, bottom in pixels of the original; right and bottom are outside.
        flips_B: bool, mirrored left to right.
        brightness_B: float64, factor; 1 changes nothing.
        contrast_B: float64, factor around the mean grey; 1 changes nothing.
        contrast_first_B: bool, contrast before brightness.
    """

    boxes_B4: NDArray[np.int64]
    flips_B: NDArray[np.bool_]
    brightness_B: NDArray[np.float64]
    contrast_B: NDArray[np.float64]
    contrast_first_B: NDArray[np.bool_]

    def box(self, at: int) -> Box:
        """Box of one image."""
        left, top, right, bottom = self.boxes_B4[at].tolist()
        return left, top, right, bottom


def random_views(
    cfg: AugmentConfig, keys: Sequence[Key], sizes_B2: NDArray[np.int64], *, seed: int, jitter: bool = True
) -> Views:
    """Views of training: the distribution of albumentations' RandomResizedCrop, HorizontalFlip and ColorJitter.

    Args:
        cfg: crop, flip, brightness and contrast.
        keys: (epoch, row) or (epoch, row, repeat) of each image.
        sizes_B2: width, height of the original files.
        seed: run seed.
        jitter: False leaves brightness and contrast alone, for policies that change colours elsewhere.
    """
    crops = cfg.crop_min_scale < 1
    u = uniforms(keys, seed=seed, count=_BOXES + (2 * ATTEMPTS if crops else 0))
    boxes_B4 = _random_boxes(cfg, sizes_B2, u) if crops else whole_boxes(sizes_B2)
    brightness, contrast = (cfg.brightness, cfg.contrast) if jitter else (0.0, 0.0)
    return Views(
        boxes_B4=boxes_B4,
        flips_B=u[:, _FLIP] < cfg.flip,
        brightness_B=_factors(u[:, _BRIGHTNESS], brightness),
        contrast_B=_factors(u[:, _CONTRAST], contrast),
        contrast_first_B=u[:, _ORDER] < 0.5,
    )


def plain_views(boxes_B4: NDArray[np.int64]) -> Views:
    """Views of evaluation: these boxes, nothing else changed."""
    count = len(boxes_B4)
    never, same = np.zeros(count, np.bool_), np.ones(count)
    return Views(boxes_B4, never, same, same, never)


def whole_boxes(sizes_B2: NDArray[np.int64]) -> NDArray[np.int64]:
    """The whole of every image, int64 [B, 4]."""
    return np.concatenate([np.zeros_like(sizes_B2), sizes_B2], axis=1)


def centre_boxes(sizes_B2: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest square around the centre of every image, int64 [B, 4]."""
    side_B1 = sizes_B2.min(axis=1, keepdims=True)
    start_B2 = (sizes_B2 - side_B1) // 2
    return np.concatenate([start_B2, start_B2 + side_B1], axis=1)


def uniforms(keys: Sequence[Key], *, seed: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), float64 [B, count], each a function of (seed, key, column) alone.

    SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), started at a hash
    of seed and key. A numpy generator per image would take as long as everything else that is done to it.
    """
    parts = np.array([(*key, 0)[:3] for key in keys], dtype=np.uint64).reshape(-1, 3)
    state = np.full(len(parts), seed, dtype=np.uint64)
    columns: NDArray[np.uint64] = np.arange(1, 4, dtype=np.uint64)
    mixed = _mix(parts * _GOLDEN + columns)
    for column in range(3):
        state = _mix(state + _GOLDEN) ^ mixed[:, column]
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(_mix(state)[:, None] + steps)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _factors(u_B: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    low = max(0.0, 1 - strength)
    return low + (1 + strength - low) * u_B if strength else np.ones_like(u_B)


def _random_boxes(cfg: AugmentConfig, sizes_B2: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Inception's crop (Szegedy et al., 2015): area and log aspect uniform, the first of ten that fits."""
    drawn = u[:, _BOXES:]
    area_BT = sizes_B2.prod(axis=1)[:, None] * (cfg.crop_min_scale + (1 - cfg.crop_min_scale) * drawn[:, ::2])
    ratio_BT = np.exp(math.log(cfg.crop_max_ratio) * (2 * drawn[:, 1::2] - 1))
    tried_BT2 = np.rint(np.sqrt(np.stack([area_BT * ratio_BT, area_BT / ratio_BT], axis=2))).astype(np.int64)
    fits_BT = ((tried_BT2 > 0) & (tried_BT2 <= sizes_B2[:, None])).all(axis=2)
    first_B = fits_BT.argmax(axis=1)
    size_B2 = tried_BT2[np.arange(len(u)), first_B]
    start_B2 = ((sizes_B2 - size_B2 + 1) * u[:, [_LEFT, _TOP]]).astype(np.int64)
    fits_B1 = fits_BT.any(axis=1, keepdims=True)
    if not fits_B1.all():
        centred_B2 = _widest_allowed(sizes_B2, cfg.crop_max_ratio)
        size_B2 = np.where(fits_B1, size_B2, centred_B2)
        start_B2 = np.where(fits_B1, start_B2, (sizes_B2 - centred_B2) // 2)
    return np.concatenate([start_B2, start_B2 + size_B2], axis=1)


def _widest_allowed(sizes_B2: NDArray[np.int64], max_ratio: float) -> NDArray[np.int64]:
    """Largest width and height within the aspect limits, for images on which no drawn box fits."""
    width_B, height_B = sizes_B2.T
    limits = [np.rint(height_B * max_ratio), np.rint(width_B * max_ratio)]
    return np.asarray(np.maximum(np.minimum(sizes_B2, np.stack(limits, axis=1)), 1), np.int64)
