"""Views: their distribution against albumentations', and that they depend on seed and key alone."""

import albumentations as A
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from src.config.schema.data import AugmentConfig
from src.data.augment.views import centre_boxes, random_views, uniforms, whole_boxes

CROP = AugmentConfig(crop_min_scale=0.3, crop_max_ratio=1.5, flip=0.5, brightness=0.3, contrast=0.2)
COUNT = 3000


def keys(count: int) -> list[tuple[int, int]]:
    return [(i % 7, i) for i in range(count)]


def sizes(width: int, height: int, count: int) -> np.ndarray:
    return np.tile([[width, height]], (count, 1))


def albumentations_boxes(width: int, height: int) -> np.ndarray:
    crop = A.RandomResizedCrop(
        (64, 64), scale=(CROP.crop_min_scale, 1.0), ratio=(1 / CROP.crop_max_ratio, CROP.crop_max_ratio)
    )
    crop.set_random_seed(0)
    params = {"shape": (height, width, 3)}
    return np.array([crop.get_params_dependent_on_data(params, {})["crop_coords"] for _ in range(COUNT)])


@pytest.mark.parametrize(("width", "height"), [(640, 480), (375, 500), (900, 90), (30, 20)])
def test_random_views__boxes_are_distributed_as_those_of_albumentations(width: int, height: int) -> None:
    boxes = random_views(CROP, keys(COUNT), sizes(width, height, COUNT), seed=4).boxes_B4
    reference = albumentations_boxes(width, height)
    for measure in (
        lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]),
        lambda b: (b[:, 2] - b[:, 0]) / (b[:, 3] - b[:, 1]),
        lambda b: b[:, 0],
        lambda b: b[:, 1],
    ):
        assert stats.ks_2samp(measure(boxes), measure(reference)).pvalue > 1e-3


def test_random_views__colour_factors_are_distributed_as_those_of_albumentations() -> None:
    views = random_views(CROP, keys(COUNT), sizes(64, 64, COUNT), seed=4)
    jitter = A.ColorJitter(brightness=0.3, contrast=0.2, saturation=0, hue=0)
    jitter.set_random_seed(0)
    drawn = [jitter.get_params() for _ in range(COUNT)]
    for found, name in ((views.brightness_B, "brightness"), (views.contrast_B, "contrast")):
        assert stats.ks_2samp(found, [params[name] for params in drawn]).pvalue > 1e-3
    first = np.mean([params["order"].index(1) < params["order"].index(0) for params in drawn])
    assert views.contrast_first_B.mean() == pytest.approx(first, abs=0.04)
    assert views.flips_B.mean() == pytest.approx(0.5, abs=0.03)


def test_random_views__no_strength_changes_nothing() -> None:
    cfg = AugmentConfig(crop_min_scale=1.0, flip=0.0)
    views = random_views(cfg, keys(50), sizes(70, 40, 50), seed=1)
    np.testing.assert_array_equal(views.boxes_B4, whole_boxes(sizes(70, 40, 50)))
    assert not views.flips_B.any()
    assert (views.brightness_B == 1).all()
    assert (views.contrast_B == 1).all()
    coloured = random_views(CROP, keys(50), sizes(70, 40, 50), seed=1, jitter=False)
    assert (coloured.brightness_B == 1).all()


@given(
    width=st.integers(1, 4000), height=st.integers(1, 4000), seed=st.integers(0, 2**31 - 1),
    scale=st.floats(0.01, 0.99), ratio=st.floats(1, 4),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_random_views__boxes_lie_within_any_image(width, height, seed, scale, ratio) -> None:
    cfg = AugmentConfig(crop_min_scale=scale, crop_max_ratio=ratio)
    boxes = random_views(cfg, keys(20), sizes(width, height, 20), seed=seed).boxes_B4
    for found in (boxes, centre_boxes(sizes(width, height, 20))):
        assert (found[:, :2] >= 0).all()
        assert (found[:, :2] < found[:, 2:]).all()
        assert (found[:, 2:] <= [width, height]).all()


def test_uniforms__a_function_of_seed_key_and_column_alone() -> None:
    some = [(0, 3), (2, 5), (2, 5, 1), (9, 10**6)]
    together = uniforms(some, seed=8, count=26)
    for i, key in enumerate(some):
        np.testing.assert_array_equal(uniforms([key], seed=8, count=26)[0], together[i])
        np.testing.assert_array_equal(uniforms([key], seed=8, count=4)[0], together[i, :4])
    np.testing.assert_array_equal(uniforms([(2, 5, 0)], seed=8, count=4), uniforms([(2, 5)], seed=8, count=4))
    others = [
        uniforms([(2, 5)], seed=9, count=4),
        uniforms([(3, 5)], seed=8, count=4),
        uniforms([(2, 6)], seed=8, count=4),
    ]
    for other in [*others, together[2:3, :4]]:
        assert (other != together[1, :4]).all()


def test_uniforms__uniform_and_uncorrelated_between_neighbours() -> None:
    """Neighbouring rows, epochs, seeds and columns are what a weak hash would let run in step."""
    grid = np.stack(
        [uniforms([(epoch, row) for row in range(400)], seed=seed, count=8) for seed in (0, 1) for epoch in (0, 1, 2)]
    )
    assert stats.kstest(grid.ravel(), "uniform").pvalue > 1e-3
    assert 0 <= grid.min() <= grid.max() < 1
    bound = 4 / np.sqrt(grid.size / 2)
    for axis in range(3):
        one, other = np.split(np.take(grid, range(grid.shape[axis] // 2 * 2), axis), 2, axis)
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < bound
        lagged = np.take(grid, range(1, grid.shape[axis]), axis), np.take(grid, range(grid.shape[axis] - 1), axis)
        assert abs(np.corrcoef(lagged[0].ravel(), lagged[1].ravel())[0, 1]) < bound
