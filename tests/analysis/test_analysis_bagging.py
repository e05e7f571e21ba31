"""The centre of bootstrap optima."""

import numpy as np
import pytest

from src.analysis.bagging import bagged_threshold
from src.analysis.threshold_search import F1, best_global_threshold
from src.analysis.thresholds import Objective, fit_thresholds, optimism


def draw(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.random((images, 10)) < 0.15
    logits = rng.normal(-1.5, 1.0, targets.shape) + 2.0 * targets
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def f1(scores: np.ndarray, targets: np.ndarray, threshold: float) -> float:
    decided = scores >= np.float32(threshold)
    return 2 * (decided & targets).sum() / (decided.sum() + targets.sum())


def test_bagged_threshold__is_the_centre_of_explicit_resamples() -> None:
    scores, targets = draw(40, 0)
    rng = np.random.default_rng(3)
    optima = []
    for _ in range(7):
        rows = rng.integers(0, 40, 40)
        optima.append(best_global_threshold(scores[rows], targets[rows], F1, average="micro").threshold)
    expected = 1 / (1 + np.exp(-np.mean([np.log(t / (1 - t)) for t in optima])))
    found = bagged_threshold(scores, targets, objective=F1, average="micro", bags=7, seed=3)
    assert found == pytest.approx(expected, abs=1e-6)


def test_bagged_threshold__does_better_on_new_images_than_the_optimum_of_few() -> None:
    unseen, truth = draw(20_000, 999)
    exact, bagged = [], []
    for seed in range(40):
        scores, targets = draw(60, seed)
        exact.append(f1(unseen, truth, best_global_threshold(scores, targets, F1, average="micro").threshold))
        bagged.append(
            f1(unseen, truth, bagged_threshold(scores, targets, objective=F1, average="micro", bags=30, seed=seed))
        )
    assert np.mean(bagged) > np.mean(exact)
    assert np.std(bagged) < np.std(exact)


def test_bagged_threshold__extreme_scores_and_no_positive_stay_in_range() -> None:
    scores = np.array([[0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    for targets in (scores > 0.5, scores < 2, scores > 2):
        assert 0 <= bagged_threshold(scores, targets, objective=F1, average="micro", bags=5) <= 1


def test_fit_thresholds__bags_move_the_global_one_and_what_is_drawn_to_it() -> None:
    scores, targets = draw(80, 1)
    plain, bagged = (fit_thresholds(scores, targets, class_names="abcdefghij", shrink=5.0, bags=b) for b in (0, 20))
    assert plain.global_ != bagged.global_
    weight_C = targets.sum(axis=0) / (targets.sum(axis=0) + 5.0)
    moved_C = bagged.per_class - plain.per_class
    np.testing.assert_allclose(moved_C, (1 - weight_C) * (bagged.global_ - plain.global_), atol=1e-6)
    assert "centre of 20 bootstrap optima" in bagged.objective
    assert type(bagged).from_json(bagged.to_json()).bags == 20
    assert optimism(scores, targets, bagged)["f1_micro_optimism"] == 0  # fitted in the same way


def test_fit_thresholds__a_required_recall_is_not_bagged_away() -> None:
    scores, targets = draw(80, 2)
    wanted = Objective("precision_at_recall", target=0.9)
    plain, bagged = (
        fit_thresholds(scores, targets, class_names="abcdefghij", objective=wanted, shrink=5.0, bags=b) for b in (0, 20)
    )
    assert plain.global_ == bagged.global_
    assert bagged.bags == 0
