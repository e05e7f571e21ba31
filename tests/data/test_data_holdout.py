"""The holdout: a partition, seeded, and closer to the whole than chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from src.data.holdout import holdout_split


def long_tailed(images: int, classes: int, seed: int) -> NDArray[np.uint8]:
    """Targets with class frequencies from 0.5 down by a power law, and some images without any class."""
    rng = np.random.default_rng(seed)
    frequencies_C = 0.5 / np.arange(1, classes + 1) ** 1.3
    return (rng.random((images, classes)) < frequencies_C).astype(np.uint8)


splits = {
    "images": st.integers(1, 120),
    "classes": st.integers(1, 12),
    "fraction": st.floats(0, 0.49),
    "seed": st.integers(0, 2**31 - 1),
}


@settings(max_examples=150, deadline=None)
@given(**splits)
def test_holdout_split__is_a_sorted_partition(images: int, classes: int, fraction: float, seed: int) -> None:
    train, holdout = holdout_split(long_tailed(images, classes, seed % 97), fraction=fraction, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([train, holdout])), np.arange(images))
    assert (np.diff(train) > 0).all()
    assert (np.diff(holdout) > 0).all()
    assert train.dtype == holdout.dtype == np.int64


@settings(max_examples=150, deadline=None)
@given(**splits)
def test_holdout_split__same_seed_same_split(images: int, classes: int, fraction: float, seed: int) -> None:
    targets = long_tailed(images, classes, seed % 97)
    first, second = (holdout_split(targets, fraction=fraction, seed=seed) for _ in range(2))
    assert np.array_equal(first[1], second[1])


@settings(max_examples=150, deadline=None)
@given(**splits)
def test_holdout_split__frequent_enough_class_is_represented(
    images: int, classes: int, fraction: float, seed: int
) -> None:
    targets = long_tailed(images, classes, seed % 97)
    train, holdout = holdout_split(targets, fraction=fraction, seed=seed)
    enough = targets.sum(axis=0) * fraction >= 1
    assert targets[holdout][:, enough].any(axis=0).all()
    assert targets[train][:, enough].any(axis=0).all()


def test_holdout_split__class_made_of_rare_classes_is_represented() -> None:
    targets = np.zeros((400, 5), np.uint8)
    targets[:40, 4] = 1
    for c in range(4):
        targets[10 * c : 10 * (c + 1), c] = 1
    for seed in range(20):
        _, holdout = holdout_split(targets, fraction=0.025, seed=seed)
        assert targets[holdout, 4].any()


def test_holdout_split__ties_are_settled_by_the_number_of_images() -> None:
    pairs = np.repeat(np.eye(4, dtype=np.uint8), 2, axis=0)
    _, holdout = holdout_split(pairs, fraction=0.25, seed=0)
    assert len(holdout) == 2


def test_holdout_split__other_seed_other_split() -> None:
    targets = long_tailed(500, 10, 0)
    holdouts = [holdout_split(targets, fraction=0.1, seed=seed)[1].tolist() for seed in range(5)]
    assert len({tuple(rows) for rows in holdouts}) == 5


@pytest.mark.parametrize("fraction", [0.05, 0.2])
def test_holdout_split__per_class_deviation_is_far_below_chance(fraction: float) -> None:
    targets = long_tailed(4000, 30, 1)
    wanted_C = fraction * targets.sum(axis=0)
    _, holdout = holdout_split(targets, fraction=fraction, seed=0)
    deviation = np.abs(targets[holdout].sum(axis=0) - wanted_C).mean()
    rng = np.random.default_rng(0)
    by_chance = [
        np.abs(targets[rng.permutation(4000)[: len(holdout)]].sum(axis=0) - wanted_C).mean() for _ in range(20)
    ]
    assert deviation < 0.25 * min(by_chance)


def test_holdout_split__images_without_classes_are_split_too() -> None:
    targets = long_tailed(2000, 6, 2)
    empty = ~targets.any(axis=1)
    _, holdout = holdout_split(targets, fraction=0.1, seed=0)
    assert len(holdout) == pytest.approx(200, abs=5)
    assert empty[holdout].sum() == pytest.approx(0.1 * empty.sum(), rel=0.3)


def test_holdout_split__no_class_at_all_still_splits() -> None:
    train, holdout = holdout_split(np.zeros((100, 3), np.uint8), fraction=0.1, seed=0)
    assert (len(train), len(holdout)) == (90, 10)


def test_holdout_split__fraction_zero_keeps_all_in_train() -> None:
    train, holdout = holdout_split(long_tailed(10, 3, 0), fraction=0, seed=0)
    assert train.tolist() == list(range(10))
    assert holdout.tolist() == []


def test_holdout_split__tiny_fraction_takes_an_image() -> None:
    _, holdout = holdout_split(long_tailed(10, 3, 0), fraction=0.01, seed=0)
    assert len(holdout) == 1
