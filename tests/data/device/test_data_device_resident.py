"""Augmentation on the device against that of the CPU: the same views, pixels within rounding."""

import cv2
import numpy as np
import pytest
import torch

from src.config.schema.data import AugmentConfig
from src.data.augment.levels import adjust_levels
from src.data.augment.render import render
from src.data.augment.views import Views, random_views
from src.data.device.paint import paint_batch

STORED, SIDE, COUNT = 48, 40, 64
POLICIES = {
    "whole": AugmentConfig(crop_min_scale=1.0, flip=0.5),
    "crop": AugmentConfig(crop_min_scale=0.2, flip=0.5),
    "jitter": AugmentConfig(crop_min_scale=0.2, flip=0.5, brightness=0.5, contrast=0.6),
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (COUNT, 9, 9, 3), np.uint8)
    return np.stack([cv2.resize(one, (STORED, STORED), interpolation=cv2.INTER_CUBIC) for one in coarse])


def numbers(views: Views) -> torch.Tensor:
    columns = [views.flips_B, views.brightness_B, views.contrast_B, views.contrast_first_B]
    return torch.from_numpy(np.column_stack([views.boxes_B4, *columns]).astype(np.float32))


@pytest.mark.parametrize("policy", POLICIES)
def test_paint_batch__is_render_for_a_whole_batch(images, policy) -> None:
    sizes = np.full((COUNT, 2), STORED)
    views = random_views(POLICIES[policy], [(3, row) for row in range(COUNT)], sizes, seed=2)
    found = paint_batch(torch.from_numpy(images), numbers(views), image_size=SIDE)
    assert found.shape == (COUNT, 3, SIDE, SIDE)
    assert found.dtype == torch.uint8
    assert found.is_contiguous(memory_format=torch.channels_last)
    expected = np.empty((COUNT, SIDE, SIDE, 3), np.uint8)
    for i in range(COUNT):
        render(images[i], views, i, expected[i], shown=(0, 0, STORED, STORED), exact=False)
    adjust_levels(dict(enumerate(expected)), views)
    difference = np.abs(found.permute(0, 2, 3, 1).numpy().astype(int) - expected)
    # a level of the interpolation's rounding, times the largest factors, and one of the cut
    assert difference.max() <= 1 + 1.5 * 1.6 * (policy == "jitter") + (policy == "jitter")
    assert difference.mean() < 0.4


def test_paint_batch__the_right_size_is_not_resampled(images) -> None:
    boxes = np.tile([[4, 2, 4 + SIDE, 2 + SIDE]], (COUNT, 1))
    one, never = np.ones(COUNT), np.zeros(COUNT, bool)
    plain = Views(boxes, never, one, one, never)
    found = paint_batch(torch.from_numpy(images), numbers(plain), image_size=SIDE).permute(0, 2, 3, 1)
    np.testing.assert_array_equal(found.numpy(), images[:, 2 : 2 + SIDE, 4 : 4 + SIDE])
    flipped = paint_batch(torch.from_numpy(images), numbers(Views(boxes, ~never, one, one, never)), image_size=SIDE)
    assert torch.equal(flipped.flip(3).permute(0, 2, 3, 1), found)


def test_paint_batch__an_image_does_not_depend_on_its_batch(images) -> None:
    sizes = np.full((COUNT, 2), STORED)
    views = numbers(random_views(POLICIES["jitter"], [(0, row) for row in range(COUNT)], sizes, seed=2))
    together = paint_batch(torch.from_numpy(images), views, image_size=SIDE)
    alone = paint_batch(torch.from_numpy(images[5:6]), views[5:6], image_size=SIDE)
    assert torch.equal(together[5:6], alone)
