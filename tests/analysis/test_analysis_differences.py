"""The interval of a difference: its two parts, and how often it holds the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from src.analysis.differences import Pairs, pooled_sd


def pairs(groups: list[str], *, resamples: int = 400, level: float = 0.95, seed: int = 0) -> Pairs:
    return Pairs(groups, groups[0], resamples=resamples, level=level, seed=seed)


def test_pooled_sd__two_groups_by_hand() -> None:
    values, groups = np.array([1.0, 3.0, 10.0, 10.0, 13.0]), np.array(["a", "a", "b", "b", "b"])
    sd, df = pooled_sd(values, groups)
    assert (sd, df) == (pytest.approx(np.sqrt((2 * 1 + 1 + 1 + 4) / 3)), 3)
    assert np.isnan(pooled_sd(values[:2], np.array(["a", "b"]))[0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=4))
def test_pooled_sd__is_the_root_of_the_residual_mean_square(parts: list[list[float]]) -> None:
    values = np.array([value for part in parts for value in part])
    groups = np.array([str(g) for g, part in enumerate(parts) for _ in part])
    sd, df = pooled_sd(values, groups)
    assert df == len(values) - len(parts)
    if df:
        assert sd == pytest.approx(np.sqrt(sum(len(part) * np.var(part) for part in parts) / df), abs=1e-12)


def test_difference__one_run_each_is_the_paired_bootstrap_alone() -> None:
    rng = np.random.default_rng(1)
    draws_MR = rng.random((2, 401))
    found = pairs(["a", "b"])
    result = found.difference(draws_MR, "b")
    paired_R = draws_MR[1, 1:] - draws_MR[0, 1:]
    reflected_R = 2 * (draws_MR[1, 0] - draws_MR[0, 0]) - paired_R
    assert found.covers == "images"
    assert (result.before, result.value) == (draws_MR[0, 0], draws_MR[1, 0] - draws_MR[0, 0])
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(reflected_R, [0.025, 0.975])))
    assert np.isnan(result.seeds_se)


def test_difference__what_is_common_to_both_cancels() -> None:
    """Images that move every run alike do not move the difference."""
    rng = np.random.default_rng(2)
    images_R = np.concatenate([[0.0], rng.normal(0, 10, 400)])
    result = pairs(["a", "b"]).difference(np.stack([images_R, images_R + 0.25]), "b")
    assert (result.low, result.high) == (pytest.approx(0.25), pytest.approx(0.25))
    assert result.clear


def test_difference__without_variation_over_images_it_is_the_t_interval() -> None:
    """Two-sample Student interval with pooled variance, by scipy."""
    values_M, groups = np.array([0.50, 0.52, 0.49, 0.55, 0.53]), ["a", "a", "a", "b", "b"]
    draws_MR = np.repeat(values_M[:, None], 2001, axis=1)
    result = pairs(groups, resamples=2000).difference(draws_MR, "b")
    expected = stats.ttest_ind(values_M[3:], values_M[:3]).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=0.001)
    assert result.images_se == pytest.approx(0, abs=1e-12)


def test_difference__a_group_of_one_borrows_the_others_spread() -> None:
    values_M = np.array([0.50, 0.54, 0.60])
    draws_MR = np.repeat(values_M[:, None], 401, axis=1)
    found = pairs(["a", "a", "b"])
    result = found.difference(draws_MR, "b")
    assert found.covers == "images and seeds"
    assert result.seeds_se == pytest.approx(np.sqrt(0.0008) * np.sqrt(1 / 2 + 1))
    assert not result.clear  # one degree of freedom


def test_difference__resamples_that_say_nothing_are_left_out() -> None:
    draws_MR = np.array([[0.1, 0.1, np.nan, 0.3], [0.4, 0.4, np.nan, 0.6]])
    result = pairs(["a", "b"], resamples=3).difference(draws_MR, "b")
    assert (result.low, result.high) == pytest.approx((0.3, 0.3))
    nothing = pairs(["a", "b"], resamples=2).difference(np.full((2, 3), np.nan), "b")
    assert np.isnan([nothing.value, nothing.low, nothing.high]).all()
    assert not nothing.clear


@pytest.mark.parametrize(("runs", "image_sd"), [(2, 0.0), (2, 1.0), (4, 0.3)])
def test_difference__covers_the_truth_as_often_as_it_says(runs: int, image_sd: float) -> None:
    """Simulated truth 0: 95 % intervals over seeds and images hold it in 93 % of 400 experiments or more."""
    rng = np.random.default_rng(3)
    groups = ["a"] * runs + ["b"] * runs
    found, held = pairs(groups, resamples=200), 0
    for _ in range(400):
        seeds_M = rng.normal(0, 1, len(groups))
        error = rng.normal(0, image_sd)  # of the images at hand, on the difference
        images_R = error + np.concatenate([[0.0], rng.normal(0, image_sd, 200)])
        draws_MR = seeds_M[:, None] + np.array([group == "b" for group in groups])[:, None] * images_R
        result = found.difference(draws_MR, "b")
        held += result.low <= 0 <= result.high
    assert held / 400 >= 0.93
