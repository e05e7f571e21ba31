"""Standard errors without resampling: derivatives against finite differences, the sum against the bootstrap."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from src.analysis.bootstrap import resample
from src.analysis.standard_error import MANY_IMAGES, average_precision_slopes, jackknife_error, standard_error


def exact_levels(scores_N: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.unique(scores_N, return_inverse=True)[1].astype(np.int64)


OBJECTIVES = ("map", "f1_micro", "f1_macro", "cf1", "of1", "f1_micro_tuned", "f1_macro_tuned")
CUTS = (0.3, np.array([0.5, 0.3, 0.2, 0.1, 0.4]))


def scores(num_images: int, seed: int = 0, *, decimals: int = 7) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    targets_NC = (random.random((num_images, 5)) < [0.5, 0.3, 0.2, 0.1, 0.3]).astype(np.uint8)
    logits_NC = 2.0 * targets_NC - 1.5 + random.normal(0, 1, targets_NC.shape)
    return (1 / (1 + np.exp(-logits_NC))).round(decimals).astype(np.float32), targets_NC


@pytest.mark.parametrize("decimals", [7, 1], ids=["distinct", "many ties"])
def test_average_precision_slopes__are_the_finite_differences_of_scikit_learns(decimals: int) -> None:
    scores_NC, targets_NC = scores(60, decimals=decimals)
    scores_N, truth_N = scores_NC[:, 2], targets_NC[:, 2]
    slopes_N = average_precision_slopes(exact_levels(scores_N), truth_N.astype(bool))
    step = 1e-4
    for image in range(60):
        weights_N = np.ones((2, 60))
        weights_N[0, image], weights_N[1, image] = 1 + step, 1 - step
        high, low = (average_precision_score(truth_N, scores_N, sample_weight=w) for w in weights_N)
        assert slopes_N[image] == pytest.approx((high - low) / (2 * step), abs=1e-6)


def test_average_precision_slopes__are_zero_without_a_positive() -> None:
    assert not average_precision_slopes(np.arange(9), np.zeros(9, bool)).any()


@pytest.mark.parametrize("scale", [1.0, 0.01], ids=["up to 1", "up to 0.01"])
def test_jackknife_error__of_map_is_that_of_the_unrounded_scores(scale: float) -> None:
    scores_NC, targets_NC = scores(2000)
    scores_NC *= np.float32(scale)
    columns = zip(scores_NC.T, targets_NC.T.astype(bool), strict=True)
    slopes_CN = [average_precision_slopes(exact_levels(scores_N), truth_N) for scores_N, truth_N in columns]
    expected = np.sqrt((np.mean(slopes_CN, axis=0) ** 2).sum())
    assert jackknife_error(scores_NC, targets_NC, CUTS, objective="map") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_jackknife_error__is_the_bootstraps_standard_deviation(objective: str) -> None:
    scores_NC, targets_NC = scores(2000)
    resampled = resample(scores_NC, targets_NC, CUTS, resamples=1500, seed=1, level=0.95)
    expected = resampled.headline[objective][1:].std()
    assert jackknife_error(scores_NC, targets_NC, CUTS, objective=objective) == pytest.approx(expected, rel=0.07)


def test_jackknife_error__leaves_out_absent_classes() -> None:
    scores_NC, targets_NC = scores(500)
    wider_NC = np.concatenate([scores_NC, scores_NC[:, :1]], axis=1)
    absent_NC = np.concatenate([targets_NC, np.zeros((500, 1), np.uint8)], axis=1)
    cuts = (0.3, np.append(CUTS[1], 0.5))
    for objective in ("map", "f1_macro", "cf1"):
        with_absent = jackknife_error(wider_NC, absent_NC, cuts, objective=objective)
        assert with_absent == pytest.approx(jackknife_error(scores_NC, targets_NC, CUTS, objective=objective))


def test_standard_error__few_images_are_resampled() -> None:
    scores_NC, targets_NC = scores(300)
    resampled = resample(scores_NC, targets_NC, CUTS, resamples=100, seed=0, level=0.95)
    assert standard_error(scores_NC, targets_NC, CUTS, objective="map") == resampled.headline["map"][1:].std()


def test_standard_error__many_images_are_not() -> None:
    scores_NC, targets_NC = scores(MANY_IMAGES)
    expected = jackknife_error(scores_NC, targets_NC, CUTS, objective="map")
    assert standard_error(scores_NC, targets_NC, CUTS, objective="map") == expected
