"""Counts on a threshold grid and the curves that follow from them."""

import numpy as np
import pytest
import sklearn.metrics as skm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from src.analysis.curves import class_curves, counts_at, overall_curves, pr_curve, threshold_counts
from src.metrics.functional import score_report


def example(images: int = 200, classes: int = 5) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Random scores, some on the grid itself; the last class is absent."""
    rng = np.random.default_rng(3)
    targets = (rng.random((images, classes)) < 0.3).astype(np.uint8)
    targets[:, -1] = 0
    scores = np.clip(0.3 * targets + 0.7 * rng.random((images, classes)), 0, 1).astype(np.float32)
    scores[::3] = (np.round(scores[::3] * 1000) / 1000).astype(np.float32)
    return scores, targets


@given(
    scores=arrays(np.float32, (12, 3), elements=st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.1, 0.5, 1.0]))),
    targets=arrays(np.uint8, (12, 3), elements=st.integers(0, 1)),
)
@settings(max_examples=60, deadline=None)
def test_threshold_counts__equals_comparing_every_score(
    scores: NDArray[np.float32], targets: NDArray[np.uint8]
) -> None:
    counts = threshold_counts(scores, targets, grid=20)
    for k in range(21):
        predicted = scores >= np.float32(k / 20)
        assert counts.tp_KC[k].tolist() == (predicted & (targets == 1)).sum(axis=0).tolist()
        assert counts.fp_KC[k].tolist() == (predicted & (targets == 0)).sum(axis=0).tolist()
    assert counts.positives_C.tolist() == targets.sum(axis=0).tolist()


def test_threshold_counts__a_score_on_the_grid_reaches_its_threshold() -> None:
    grid = (np.arange(1001) / 1000).astype(np.float32)
    counts = threshold_counts(grid[:, None], np.ones((1001, 1), np.uint8))
    assert counts.tp_KC[:, 0].tolist() == list(range(1001, 0, -1))
    assert counts.num_images == 1001


@pytest.mark.parametrize("k", [0, 137, 500, 999, 1000])
def test_overall_curves__equal_the_metrics_of_training(k: int) -> None:
    scores, targets = example()
    row = overall_curves(threshold_counts(scores, targets)).iloc[k]
    expected = score_report(torch.from_numpy(scores), torch.from_numpy(targets), threshold=k / 1000)
    for name in ("precision_micro", "recall_micro", "f1_micro", "precision_macro", "recall_macro", "f1_macro"):
        assert row[name] == pytest.approx(expected[name], abs=1e-12), name
    assert row["threshold"] == np.float32(k / 1000)


def test_overall_curves__without_any_positive_are_zero() -> None:
    curves = overall_curves(threshold_counts(np.full((4, 2), 0.5, np.float32), np.zeros((4, 2), np.uint8)))
    assert curves.drop(columns="threshold").to_numpy().max() == 0


def test_class_curves__equal_scikit_learn() -> None:
    scores, targets = example()
    curves = class_curves(threshold_counts(scores, targets, grid=50), 1)
    for k in (0, 20, 35, 50):
        decided = scores[:, 1] >= np.float32(k / 50)
        expected = skm.precision_recall_fscore_support(targets[:, 1], decided, average="binary", zero_division=0)[:3]
        assert curves.iloc[k][["precision", "recall", "f1"]].tolist() == pytest.approx(expected, abs=1e-12)


def test_counts_at__one_threshold_per_class_between_grid_points() -> None:
    scores, targets = example()
    cuts = np.array([0.1234567, 0.5, 0.75, 0.3, 0.9])
    tp, fp = counts_at(scores, targets, cuts)
    predicted = scores >= cuts.astype(np.float32)
    assert tp.tolist() == (predicted & (targets == 1)).sum(axis=0).tolist()
    assert fp.tolist() == (predicted & (targets == 0)).sum(axis=0).tolist()


def test_pr_curve__equals_scikit_learn_where_something_is_found() -> None:
    scores, targets = example()
    curve = pr_curve(scores[:, 0], targets[:, 0], points=10_000)
    precision, recall, thresholds = skm.precision_recall_curve(targets[:, 0], scores[:, 0])
    expected = {float(t): (r, p) for t, r, p in zip(thresholds, recall[:-1], precision[:-1], strict=True) if r > 0}
    assert len(curve) > 50
    for row in curve.to_dict("records"):
        assert (row["recall"], row["precision"]) == pytest.approx(expected[row["threshold"]], abs=1e-12)
    assert curve["recall"].is_monotonic_increasing
    assert curve["recall"].iloc[-1] == 1


def test_pr_curve__is_thinned_and_keeps_its_ends() -> None:
    scores, targets = example(5000)
    whole, thin = (pr_curve(scores.ravel(), targets.ravel(), points=points) for points in (10_000_000, 30))
    assert len(whole) > 1000
    assert len(thin) <= 31
    assert thin.iloc[0].tolist() == whole.iloc[0].tolist()
    assert thin.iloc[-1].tolist() == whole.iloc[-1].tolist()


def test_pr_curve__is_empty_without_a_positive_or_an_image() -> None:
    assert len(pr_curve(np.array([0.5, 0.7]), np.zeros(2))) == 0
    assert len(pr_curve(np.zeros(0), np.zeros(0))) == 0
