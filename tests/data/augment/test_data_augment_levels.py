"""Brightness and contrast against albumentations, and of a batch against its images."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from albumentations.augmentations.pixel import functional as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.augment.levels import adjust_levels, mean_grey, mean_greys
from src.data.augment.views import Views

COCO_REAL = os.environ.get("COCO_REAL")


def levels(*factors: tuple[float, float, bool]) -> Views:
    brightness, contrast, first = zip(*factors, strict=True)
    count = len(factors)
    return Views(
        np.zeros((count, 4), np.int64),
        np.zeros(count, np.bool_),
        np.array(brightness, np.float64),
        np.array(contrast, np.float64),
        np.array(first, np.bool_),
    )


def difference(image: np.ndarray, brightness: float, contrast: float, *, contrast_first: bool) -> np.ndarray:
    """Levels by which ours differs from albumentations, as floats."""
    steps = [
        lambda x: reference.adjust_brightness_torchvision(x, brightness),
        lambda x: reference.adjust_contrast_torchvision(x, contrast),
    ]
    expected = image
    for step in reversed(steps) if contrast_first else steps:
        expected = step(expected)
    found = np.ascontiguousarray(image.copy())
    adjust_levels({0: found}, levels((brightness, contrast, contrast_first)))
    return found.astype(float) - expected


@pytest.mark.parametrize("contrast_first", [False, True])
@pytest.mark.parametrize("brightness", [0.0, 0.7, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("contrast", [0.1, 0.8, 1.0, 1.2, 2.0])
@pytest.mark.parametrize("level", ["dark", "middle", "bright"])
def test_adjust_levels__within_a_level_of_albumentations(photo, brightness, contrast, contrast_first, level) -> None:
    """The mean grey is not rounded pixel by pixel here, which may carry a value over to the next level."""
    image = {"dark": photo // 3, "middle": photo, "bright": 255 - photo // 3}[level]
    found = np.abs(difference(image, brightness, contrast, contrast_first=contrast_first))
    assert found.max() <= np.ceil(max(1, brightness if contrast_first else 1))
    if contrast_first or 1 in (brightness, contrast):
        assert (found > 0).mean() < 0.1


@pytest.mark.parametrize("level", ["dark", "middle", "bright"])
def test_adjust_levels__nearly_albumentations_where_brightness_comes_first(photo, level) -> None:
    """An error of the mean carries as many values over to the next level: those of all factors on average."""
    image = {"dark": photo // 3, "middle": photo, "bright": 255 - photo // 3}[level][::3, ::3]
    factors = np.random.default_rng(0).uniform(0.6, 1.4, (200, 2))
    errors = [difference(image, *pair, contrast_first=False) for pair in factors]
    assert np.abs(errors).max() <= 1
    assert np.abs(np.mean(errors, axis=(1, 2, 3))).mean() < 0.03


@pytest.mark.real
@pytest.mark.skipif(COCO_REAL is None, reason="COCO_REAL names no folder with real COCO data")
def test_adjust_levels__the_mean_after_brightness_is_told_to_a_tenth_on_real_photos() -> None:
    """0.04 of a level on average, 0.7 at most: 200 photos, five factors of 0.6 to 1.4 each."""
    rng = np.random.default_rng(0)
    errors = []
    for path in sorted((Path(str(COCO_REAL)) / "val2017").glob("*.jpg"))[:200]:
        photo = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        for brightness in rng.uniform(0.6, 1.4, 5):
            told = mean_greys({0: photo}, levels((brightness, 0.8, False)))[0]
            errors.append(told - mean_grey(reference.adjust_brightness_torchvision(photo, brightness)))
    assert np.abs(errors).mean() < 0.05
    assert np.abs(errors).max() < 1


FACTOR = st.one_of(st.just(1.0), st.floats(0, 2))


@given(factors=st.lists(st.tuples(FACTOR, FACTOR, st.booleans()), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_adjust_levels__of_a_batch_are_those_of_each_image_alone(factors, seed) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (len(factors), 5, 7, 3), np.uint8)
    alone = images.copy()
    for image, factor in zip(alone, factors, strict=True):
        adjust_levels({0: image}, levels(factor))
    adjust_levels(dict(enumerate(images)), levels(*factors))
    np.testing.assert_array_equal(images, alone)


def test_adjust_levels__leaves_alone_what_was_not_painted(photo) -> None:
    """The place of a broken image in a batch holds whatever lay there."""
    images = np.stack([photo, photo, photo])
    adjust_levels({0: images[0], 2: images[2]}, levels((0.5, 1.0, False), (0.5, 0.5, True), (1.0, 0.5, False)))
    np.testing.assert_array_equal(images[0], photo // 2)
    np.testing.assert_array_equal(images[1], photo)
    assert images[2].std() < photo.std()


def test_mean_grey__is_that_of_the_grey_image(photo) -> None:
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    assert mean_grey(photo) == pytest.approx(grey.mean(), abs=0.05)  # OpenCV rounds pixel by pixel
