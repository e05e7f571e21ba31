import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from src.config.schema.data import SAMPLERS
from src.data.sampler import (
    epoch_length,
    epoch_rows,
    expected_draws,
    in_windows,
    permutation,
    repeat_numbers,
    visit_counts,
)

EPOCHS = 2000

tables = st.tuples(st.integers(1, 60), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


def long_tailed(num_images=400, shares=(0.6, 0.2, 0.05, 0.01), seed=0):
    """Independent classes of these shares; about 3 in 10 images have none."""
    return (np.random.default_rng(seed).random((num_images, len(shares))) < shares).astype(np.uint8)


def test_permutation__is_the_order_that_runs_of_before_had():
    sequence = np.random.SeedSequence((7, 3), spawn_key=(1,))
    before = np.random.Generator(np.random.PCG64(sequence)).permutation(118)
    np.testing.assert_array_equal(permutation(118, seed=7, epoch=3), before)


@given(st.integers(0, 200), st.integers(0, 2**31 - 1), st.integers(0, 100))
def test_epoch_rows__uniform_is_the_permutation_bit_for_bit(num_images, seed, epoch):
    draws = expected_draws(np.zeros((num_images, 3), np.uint8), sampler="uniform")
    np.testing.assert_array_equal(
        epoch_rows(draws, seed=seed, epoch=epoch), permutation(num_images, seed=seed, epoch=epoch)
    )


@pytest.mark.parametrize("threshold", [1e-6, 0.005])
def test_repeat_factor__below_every_class_is_uniform(threshold):
    targets = long_tailed()
    assert targets.mean(axis=0).min() > threshold
    draws = expected_draws(targets, sampler="repeat_factor", repeat_threshold=threshold)
    np.testing.assert_array_equal(epoch_rows(draws, seed=1, epoch=2), permutation(400, seed=1, epoch=2))


@given(tables, st.floats(1e-4, 1))
def test_repeat_factor__equals_the_definition_image_by_image(targets, threshold):
    num_images, num_classes = targets.shape
    factors = []
    for target in targets:
        rates = [targets[:, c].sum() / num_images for c in range(num_classes) if target[c]]
        factors.append(max([1.0, *(math.sqrt(threshold / rate) for rate in rates)]))
    draws = expected_draws(targets, sampler="repeat_factor", repeat_threshold=threshold)
    total = math.fsum(factors)
    np.testing.assert_allclose(draws / np.array(factors), draws.sum() / total, rtol=1e-12)
    assert total - 1e-9 <= draws.sum() < total + 1 + 1e-9
    assert draws.min() >= 1


def test_class_aware__is_the_two_step_draw_of_the_paper():
    """Simulated as written: a class, then an image of it; images without a class are drawn beside it."""
    targets = long_tailed()
    has_class = targets.any(axis=1)
    rng, num_draws = np.random.default_rng(1), 200_000
    chosen = rng.integers(0, 4, num_draws)
    seen = np.zeros(len(targets))
    for c in range(4):
        images = np.flatnonzero(targets[:, c])
        seen += np.bincount(rng.choice(images, (chosen == c).sum()), minlength=len(targets))
    draws = expected_draws(targets, sampler="class_aware")
    share = draws / has_class.sum()
    error = np.sqrt(share * (1 - share) / num_draws)
    assert (np.abs(seen / num_draws - share)[has_class] < 5 * error[has_class]).all()
    np.testing.assert_array_equal(draws[~has_class], 1.0)


@given(tables)
def test_class_aware__epoch_has_n_visits_and_no_image_vanishes(targets):
    draws = expected_draws(targets, sampler="class_aware")
    assert draws.sum() == pytest.approx(len(targets), rel=1e-12)
    assert epoch_length(draws) == len(targets)
    assert (draws > 0).all()


def test_class_aware__classes_that_never_meet_are_shown_equally_often():
    counts = (500, 100, 20, 4)
    targets = np.repeat(np.eye(4, dtype=np.uint8), counts, axis=0)
    draws = expected_draws(targets, sampler="class_aware")
    np.testing.assert_allclose(draws @ targets, 624 / 4)
    for epoch in range(5):
        shown = targets[epoch_rows(draws, seed=0, epoch=epoch)].sum(axis=0, dtype=np.int64)
        assert np.abs(shown - 156).max() <= 12  # 4 images in 39 visits each, 500 images in 156


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_visit_counts__mean_over_epochs_is_the_expected_number(sampler):
    targets = long_tailed(90)
    draws = expected_draws(targets, sampler=sampler, repeat_threshold=0.3)
    counts = np.array([visit_counts(draws, seed=3, epoch=epoch) for epoch in range(EPOCHS)])
    fraction = draws - np.floor(draws)
    error = np.sqrt(fraction * (1 - fraction) / EPOCHS)
    assert (np.abs(counts.mean(axis=0) - draws) <= 4.5 * error + 1e-9).all()
    shown = counts @ targets
    error = shown.std(axis=0) / math.sqrt(EPOCHS)
    assert (np.abs(shown.mean(axis=0) - draws @ targets) <= 4.5 * error + 1e-9).all()


@settings(max_examples=200)
@given(tables, st.sampled_from(SAMPLERS), st.floats(1e-3, 1), st.integers(0, 2**31 - 1), st.integers(0, 500))
def test_visit_counts__rounds_down_or_up_to_the_same_length_in_every_epoch(targets, sampler, threshold, seed, epoch):
    draws = expected_draws(targets, sampler=sampler, repeat_threshold=threshold)
    counts = visit_counts(draws, seed=seed, epoch=epoch)
    assert counts.sum() == epoch_length(draws) == len(epoch_rows(draws, seed=seed, epoch=epoch))
    assert (counts >= np.floor(draws)).all()
    assert (counts <= np.ceil(draws)).all()
    np.testing.assert_array_equal(counts, visit_counts(draws, seed=seed, epoch=epoch))


def test_epoch_rows__differ_between_seeds_and_epochs():
    draws = expected_draws(long_tailed(), sampler="class_aware")
    made = {np.sort(epoch_rows(draws, seed=s, epoch=e)).tobytes() for s in range(4) for e in range(4)}
    assert len(made) == 16


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_expected_draws__labels_all_absent_or_no_images(sampler):
    options = {"sampler": sampler, "repeat_threshold": 0.1}
    np.testing.assert_array_equal(expected_draws(np.zeros((5, 3), np.uint8), **options), np.ones(5))
    none = expected_draws(np.zeros((0, 3), np.uint8), **options)
    assert epoch_rows(none, seed=0, epoch=0).tolist() == []


def test_expected_draws__unknown_sampler():
    with pytest.raises(ValueError, match="no sampler 'balanced'"):
        expected_draws(np.ones((2, 2), np.uint8), sampler="balanced")


@given(st.lists(st.integers(0, 5), max_size=40))
def test_repeat_numbers__counts_what_came_before(rows):
    expected = [rows[:at].count(row) for at, row in enumerate(rows)]
    assert repeat_numbers(np.array(rows, np.int64)).tolist() == expected


@settings(max_examples=200)
@given(
    shards=st.lists(st.integers(0, 9), max_size=60), window=st.integers(0, 12), epoch=st.integers(0, 5), data=st.data()
)
def test_in_windows__every_visit_once_every_shard_in_one_window_order_kept_within(shards, window, epoch, data):
    shards_N = np.array(shards, np.int32)
    visits = data.draw(st.lists(st.integers(0, len(shards) - 1), max_size=90)) if shards else []
    rows_L = np.array(visits, np.int64)
    found = in_windows(rows_L, shards_N, window=window, seed=7, epoch=epoch)
    assert sorted(found.tolist()) == sorted(visits)
    if window == 0 or len(set(shards)) <= window:
        assert found.tolist() == visits
    seen = [shards[row] for row in found.tolist()]
    stretches = {shard: (seen.index(shard), len(seen) - seen[::-1].index(shard)) for shard in set(seen)}
    for at in range(len(seen)):  # never more shards in use at once than a window has
        assert sum(first <= at < end for first, end in stretches.values()) <= (window or len(shards))
    for shard in set(seen):
        assert [row for row in found.tolist() if shards[row] == shard] == [r for r in visits if shards[r] == shard]


def test_in_windows__shards_meet_others_in_other_epochs():
    shards_N = np.repeat(np.arange(8, dtype=np.int32), 4)
    orders = [in_windows(np.arange(32), shards_N, window=2, seed=0, epoch=epoch) for epoch in range(6)]
    assert len({frozenset(shards_N[order[:8]].tolist()) for order in orders}) > 2
    again = in_windows(np.arange(32), shards_N, window=2, seed=0, epoch=3)
    np.testing.assert_array_equal(orders[3], again)
    assert (in_windows(np.arange(32), shards_N, window=2, seed=1, epoch=3) != again).any()
