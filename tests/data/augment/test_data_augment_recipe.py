import os
import random
import subprocess
import sys

import albumentations as A
import numpy as np
import pytest

from src.config.schema.data import AugmentConfig
from src.data.augment.recipe import (
    GREY,
    Recipe,
    apply,
    build_eval_transform,
    eval_recipe,
    rand_augment_ops,
    remaining_steps,
    train_recipe,
)

NONE = AugmentConfig(crop_min_scale=1.0, flip=0.0)
LIGHT = AugmentConfig(crop_min_scale=0.5, flip=0.5)
SEED = AugmentConfig(crop_min_scale=1.0, flip=0.5, brightness=0.3, contrast=0.3)
STRONG = AugmentConfig(
    crop_min_scale=0.3, flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.02, rand_ops=3, cutout=0.5
)
RANDOM = {"light": LIGHT, "seed": SEED, "strong": STRONG}


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 10, 3), np.uint8)
    return np.kron(coarse, np.ones((12, 12, 1), np.uint8))


def names(cfg: AugmentConfig) -> list[str]:
    return [type(step).__name__ for step in remaining_steps(cfg)]


def shown(recipe: Recipe, image: np.ndarray, *, key: tuple[int, ...] = (0, 0)) -> np.ndarray:
    """One image as a batch of one."""
    size = (image.shape[1], image.shape[0])
    out = np.empty((recipe.image_size, recipe.image_size, 3), np.uint8)
    views = recipe.views([key], np.array([size])) if recipe.views else None
    recipe.paint(image, views, 0, out, key=key, shown=(0, 0, *size))
    recipe.finish({0: out}, views, [key])
    return out


def train(cfg: AugmentConfig, image: np.ndarray, side: int, *, seed: tuple[int, ...]) -> np.ndarray:
    return shown(train_recipe(cfg, side, seed=seed[0]), image, key=seed[1:])


def test_remaining_steps__only_what_is_not_crop_flip_brightness_or_contrast():
    assert names(NONE) == names(LIGHT) == names(SEED) == []
    assert names(STRONG) == ["ColorJitter", "RandomOrder", "CoarseDropout"]


@pytest.mark.parametrize("cfg", [NONE, LIGHT, SEED, STRONG])
@pytest.mark.parametrize("shape", [(96, 120), (120, 96), (40, 200), (9, 7)])
def test_train_transform__uint8_square_for_any_image(cfg, shape):
    source = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    out = train(cfg, source, 64, seed=(0, 0, 0))
    assert out.shape == (64, 64, 3)
    assert out.dtype == np.uint8


@pytest.mark.parametrize("name", RANDOM)
def test_apply__a_function_of_seed_epoch_and_row_alone(image, name):
    one, other = train_recipe(RANDOM[name], 64, seed=3), train_recipe(RANDOM[name], 64, seed=3)
    keys = [(3, epoch, row) for epoch in range(3) for row in range(6)]
    forwards = {key: shown(one, image, key=key[1:]) for key in keys}
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    for key in reversed(keys):
        np.testing.assert_array_equal(shown(other, image, key=key[1:]), forwards[key])


@pytest.mark.parametrize("name", ["light", "strong"])
@pytest.mark.parametrize("part", ["seed", "epoch", "row"])
def test_apply__differs_between_seeds_epochs_and_rows(image, name, part):
    keys = [tuple(i if part == field else 5 for field in ("seed", "epoch", "row")) for i in range(12)]
    assert len({train(RANDOM[name], image, 64, seed=key).tobytes() for key in keys}) >= 11


@pytest.mark.parametrize("index", range(len(rand_augment_ops(0.5))))
def test_rand_augment_ops__each_reproduces_nested_in_compose(image, index):
    make = lambda: A.Compose([A.OneOf([A.RandomOrder([rand_augment_ops(0.8)[index]], n=1)], p=1.0)])  # noqa: E731
    one, other = make(), make()
    drawn = [apply(one, image, seed=(0, 0, row)) for row in range(8)]
    for row in reversed(range(8)):
        np.testing.assert_array_equal(apply(other, image, seed=(0, 0, row)), drawn[row])


def test_rand_augment_ops__some_operation_differs_per_row(image):
    fixed = {"Equalize", "AutoContrast", "NoOp"}
    for op in rand_augment_ops(0.8):
        transform = A.Compose([op])
        outcomes = {apply(transform, image, seed=(0, 0, row)).tobytes() for row in range(12)}
        assert (len(outcomes) > 1) != (type(op).__name__ in fixed), type(op).__name__


def test_rand_augment_ops__magnitude_zero_of_the_geometric_ones_changes_nothing(image):
    for op in rand_augment_ops(0.0)[:8]:
        out = apply(A.Compose([op]), image, seed=(0, 0, 1))
        np.testing.assert_allclose(out.astype(int), image.astype(int), atol=1)


def test_apply__steps_draw_independently():
    """With one seed per step instead of one stream for all, small crops would also be the flipped ones."""
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (200, 1, 3))
    cfg, side = AugmentConfig(crop_min_scale=0.2, crop_max_ratio=1.0, flip=0.5), 64
    flipped, width = [], []
    for row in range(400):
        line = train(cfg, ramp, side, seed=(0, 0, row))[32, :, 0].astype(int)
        flipped.append(line[0] > line[-1])
        width.append(abs(line[-1] - line[0]))
    assert 0.4 < np.mean(flipped) < 0.6
    assert abs(np.corrcoef(flipped, width)[0, 1]) < 0.15


def test_train_transform__crop_scale_spans_its_range_evenly():
    ramp = np.zeros((200, 200, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(200)[None], np.arange(200)[:, None]
    cfg = AugmentConfig(crop_min_scale=0.25, crop_max_ratio=1.0, flip=0.0)
    scales, centres = [], []
    for row in range(500):
        out = train(cfg, ramp, 100, seed=(1, 0, row)).astype(float)
        side = (out[50, -1, 0] - out[50, 0, 0]) / 99 * 100
        scales.append((side / 200) ** 2)
        centres.append(out[50, 50, :2])
    low, high = np.percentile(scales, [1, 99])
    assert 0.24 < low < 0.30
    assert 0.95 < high < 1.03
    assert np.mean(scales) == pytest.approx(0.625, abs=0.03)
    np.testing.assert_allclose(np.mean(centres, 0), 100, atol=3)


def test_train_transform__brightness_spans_its_range():
    grey = np.full((32, 32, 3), 100, np.uint8)
    cfg, side = AugmentConfig(crop_min_scale=1.0, flip=0.0, brightness=0.3), 32
    means = [train(cfg, grey, side, seed=(0, 0, row)).mean() for row in range(300)]
    assert 69 <= min(means) < 73
    assert 127 < max(means) <= 130.5
    assert np.mean(means) == pytest.approx(100, abs=3)


def test_train_transform__cutout_is_one_grey_square(image):
    cfg = AugmentConfig(crop_min_scale=1.0, flip=0.0, cutout=1.0, cutout_size=0.5)
    out = train(cfg, image, 64, seed=(0, 0, 0))
    plain = train(NONE, image, 64, seed=(0, 0, 0))
    changed = (out != plain).any(2)
    rows, columns = np.nonzero(changed)
    assert (out[changed] == np.uint8(GREY)).all()
    assert np.ptp(rows) + 1 == pytest.approx(32, abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(32, abs=1)


def test_eval_transform__squash_shows_the_whole_image():
    halves = np.zeros((60, 200, 3), np.uint8)
    halves[:, 100:] = 200
    out = apply(build_eval_transform("squash", 50), halves)
    assert out.shape == (50, 50, 3)
    assert (out[:, :25] == 0).all()
    assert (out[:, 25:] == 200).all()


def test_eval_transform__crop_shows_the_centre_in_its_aspect():
    thirds = np.zeros((50, 150, 3), np.uint8)
    thirds[:, 50:100] = 200
    out = apply(build_eval_transform("crop", 50), thirds)
    assert out.shape == (50, 50, 3)
    assert (out == 200).all()


@pytest.mark.parametrize("resize", ["squash", "crop"])
def test_eval_transform__shrinking_averages(resize):
    """A checkerboard of single pixels becomes its mean; point sampling would keep black or white."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    out = apply(build_eval_transform(resize, 64), board)
    np.testing.assert_allclose(out.astype(int), 128, atol=2)


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("shape", [(96, 120), (120, 96), (40, 200)])
def test_eval_recipe__of_a_cache_shows_what_that_of_the_files_shows(image, resize, shape):
    """The centre may lie half a pixel beside; a smooth picture does not show it."""
    height, width = shape
    smooth = np.stack([np.indices(shape)[0] * 250 / height, np.indices(shape)[1] * 250 / width, np.full(shape, 9)], 2)
    smooth = smooth.astype(np.uint8)
    one = shown(eval_recipe(resize, 48, original=False), smooth)
    other = shown(eval_recipe(resize, 48), smooth)
    assert np.abs(one.astype(int) - other).max() <= 250 / 40 + 1


def test_augment__import_does_not_ask_the_network():
    code = (
        "import urllib.request\n"
        "def opened(*a, **k): raise SystemExit('network')\n"
        "urllib.request.urlopen = urllib.request.OpenerDirector.open = opened\n"
        "import src.data.augment.recipe"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
