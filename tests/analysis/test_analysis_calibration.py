import json

import numpy as np
import pytest
import sklearn.metrics as skm
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from src.analysis.calibration import (
    Calibration,
    CalibrationError,
    brier,
    classwise_ece,
    ece,
    fit_platt,
    fit_temperature,
    logit,
    reliability,
)
from src.analysis.decision_metrics import ScoringError
from src.analysis.logistic import MIN_SLOPE, fit_logistic, sigmoid
from src.analysis.ranking_metrics import average_precisions

NAMES = ("person", "car", "dog", "hair drier")
Pair = tuple[NDArray[np.float32], NDArray[np.uint8]]


def draw(seed: int, *, images: int = 2000, slope: float | list[float] = 1.0, offset: float | list[float] = 0.0) -> Pair:
    """Scores whose true probability is sigmoid(slope * logit + offset), per class."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2, 2, (images, len(NAMES)))
    targets = rng.random(logits.shape) < sigmoid(np.asarray(slope) * logits + np.asarray(offset))
    return sigmoid(logits).astype(np.float32), targets.astype(np.uint8)


def log_loss(scores: NDArray, targets: NDArray) -> float:
    return float(skm.log_loss(targets.ravel(), scores.ravel().astype(np.float64)))


def test_reliability__equals_scikit_learn() -> None:
    scores, targets = draw(0)
    table = reliability(scores, targets, bins=10)
    assert list(table) == ["bin_low", "bin_high", "count", "mean_score", "frequency"]
    frequency, mean_score = calibration_curve(targets.ravel(), scores.ravel().astype(np.float64), n_bins=10)
    np.testing.assert_allclose(table["frequency"], frequency, atol=1e-9)
    np.testing.assert_allclose(table["mean_score"], mean_score, atol=1e-9)
    assert table["count"].sum() == scores.size


def test_reliability__bins_hold_their_upper_edge_and_empty_ones_are_nan() -> None:
    table = reliability(np.array([0.0, 0.25, 0.5, 1.0]), np.array([0, 0, 1, 1]), bins=4)
    assert table["count"].tolist() == [2, 1, 0, 1]
    assert table["bin_high"].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert table["frequency"].tolist()[:2] == [0.0, 1.0]
    assert table.loc[2, ["mean_score", "frequency"]].isna().all()


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=30), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_ece__equals_its_definition(rows: list[tuple[float, bool]], bins: int) -> None:
    scores, targets = np.array([score for score, _ in rows]), np.array([label for _, label in rows])
    expected = 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        inside = (scores <= high) & ((scores > low) | (low == 0))
        if inside.any():
            expected += inside.mean() * abs(targets[inside].mean() - scores[inside].mean())
    assert ece(scores, targets, bins=bins) == pytest.approx(expected, abs=1e-9)
    assert brier(scores, targets) == pytest.approx(skm.brier_score_loss([*targets, 0, 1], [*scores, 0, 1])
                                                   * (len(rows) + 2) / len(rows), abs=1e-9)  # fmt: skip


def test_classwise_ece__is_the_ece_of_each_class() -> None:
    scores, targets = draw(1, offset=[0, 1, -1, 2])
    found = classwise_ece(scores, targets)
    assert found == pytest.approx([ece(scores[:, c], targets[:, c]) for c in range(4)], abs=1e-12)
    assert ece(scores, targets) < found.mean()


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_calibration_scores__order_and_repetition_change_nothing(seed: int) -> None:
    scores, targets = draw(seed, images=30)
    order = np.random.default_rng(seed).permutation(30)
    for function in (ece, brier, lambda s, t: classwise_ece(s, t).mean()):
        found = function(scores, targets)
        assert function(scores[order], targets[order]) == pytest.approx(found, abs=1e-12)
        twice = np.concatenate([scores, scores]), np.concatenate([targets, targets])
        assert function(*twice) == pytest.approx(found, abs=1e-12)


def test_logit__is_finite_and_inverts_the_sigmoid() -> None:
    scores = np.array([0.0, 1e-9, 0.3, 0.9, 1 - 2.0**-24, 1.0], dtype=np.float32)
    assert np.isfinite(logit(scores)).all()
    np.testing.assert_allclose(sigmoid(logit(scores))[1:-1], scores[1:-1], rtol=1e-6)
    assert logit(np.array([0.0, 1.0])) == pytest.approx([-27.631, 16.636], abs=1e-3)


@pytest.mark.parametrize("strength", [1.0, 10.0, 1e-3])
def test_fit_logistic__reaches_the_minimum_that_scipy_finds(strength: float) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(-1, 3, (300, 3)), rng.random((300, 3)) < [0.3, 0.01, 0.7]
    targets[:, 1] = False

    def loss(line: NDArray, c: int) -> float:
        t = line[0] * logits[:, c] + line[1]
        pull = (line[0] - 0.8) ** 2 + (line[1] + 0.5) ** 2
        return float((np.logaddexp(0, t) - targets[:, c] * t).sum() + strength / 2 * pull)

    found = np.stack(fit_logistic(logits, targets, prior=(0.8, -0.5), strength=strength))
    for c in range(3):
        bounds = [(MIN_SLOPE, None), (None, None)]
        best = minimize(loss, [0.8, -0.5], args=(c,), bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10})
        assert loss(found[:, c], c) <= best.fun + 1e-7
        assert found[:, c] == pytest.approx(best.x, abs=1e-3)


def test_fit_logistic__weak_pull_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(-1, 2, (500, 1))
    targets = rng.random((500, 1)) < sigmoid(0.7 * logits + 0.4)
    slope, offset = fit_logistic(logits, targets, prior=(1.0, 0.0), strength=1e-9)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logits, targets[:, 0])
    assert (slope[0], offset[0]) == pytest.approx((reference.coef_[0, 0], reference.intercept_[0]), abs=1e-5)


def test_fit_logistic__a_falling_line_is_held_at_the_least_slope() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (400, 2))
    targets = rng.random((400, 2)) < sigmoid(np.array([-1.0, 1.0]) * logits - 1)
    slope, offset = fit_logistic(logits, targets, prior=(1.0, 0.0), strength=1.0)
    assert slope[0] == MIN_SLOPE
    assert slope[1] == pytest.approx(1, abs=0.2)
    mean = sigmoid(slope * logits + offset).mean(axis=0)
    assert mean == pytest.approx(targets.mean(axis=0), abs=0.01)


@pytest.mark.parametrize("scale", [0.0, 1.0, 27.0])
def test_fit_logistic__separated_or_constant_scores_stay_finite(scale: float) -> None:
    targets = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 1, 1]])
    logits = scale * (2.0 * targets - 1)
    for line in fit_logistic(logits, targets, prior=(1.0, 0.0), strength=1.0):
        assert np.isfinite(line).all()


def test_fit_temperature__finds_the_temperature() -> None:
    scores, targets = draw(3, images=5000, slope=0.5)
    fitted = fit_temperature(scores, targets)
    assert fitted.slope == pytest.approx([0.5], abs=0.03)
    assert fitted.offset.tolist() == [0.0]
    assert (fitted.kind, fitted.fitted_on, fitted.num_images) == ("temperature", "holdout", 5000)
    fresh_scores, fresh = draw(4, images=5000, slope=0.5)
    assert ece(fitted.apply(fresh_scores), fresh) < 0.3 * ece(fresh_scores, fresh)
    assert log_loss(fitted.apply(fresh_scores), fresh) < log_loss(fresh_scores, fresh)


def test_fit_platt__finds_the_line_of_each_class_and_helps_on_fresh_images() -> None:
    slope, offset = [0.5, 1.0, 1.5, 0.8], [1.0, -1.0, 0.5, 0.0]
    scores, targets = draw(5, images=20_000, slope=slope, offset=offset)
    fitted = fit_platt(scores, targets, class_names=NAMES)
    assert fitted.slope == pytest.approx(slope, abs=0.1)
    assert fitted.offset == pytest.approx(offset, abs=0.15)
    fresh_scores, fresh = draw(6, images=5000, slope=slope, offset=offset)
    assert classwise_ece(fitted.apply(fresh_scores), fresh).mean() < 0.3 * classwise_ece(fresh_scores, fresh).mean()
    global_ = fit_temperature(scores, targets)
    assert log_loss(fitted.apply(fresh_scores), fresh) < log_loss(global_.apply(fresh_scores), fresh)


@pytest.mark.parametrize("seed", range(3))
def test_fits__leave_calibrated_scores_as_they_are(seed: int) -> None:
    scores, targets = draw(seed, images=20_000)
    for fitted in (fit_temperature(scores, targets), fit_platt(scores, targets, class_names=NAMES)):
        assert fitted.slope == pytest.approx(1, abs=0.1)
        assert fitted.offset == pytest.approx(0, abs=0.12)
        assert np.abs(fitted.apply(scores) - scores).max() < 0.03


def test_fit_platt__the_pull_gives_way_with_support() -> None:
    def own(images: int, shrink: float) -> tuple[float, float]:
        scores, targets = draw(7, images=images, offset=[0, 0, 0, 2])
        fitted = fit_platt(scores, targets, class_names=NAMES, shrink=shrink)
        return float(fitted.offset[3] - fitted.offset[:3].mean()), int(targets[:, 3].sum())

    few, many = own(25, 10), own(4000, 10)
    assert few[1] < 15
    assert 0 < few[0] < 1
    assert many[0] == pytest.approx(2, abs=0.2)
    assert own(25, 1e9)[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shrink", [10.0, 0.1])
def test_fit_platt__absent_and_universal_classes_stay_near_the_pooled_line(shrink: float) -> None:
    scores, targets = draw(8)
    targets[:, 3], targets[:, 2] = 0, 1
    fitted = fit_platt(scores, targets, class_names=NAMES, shrink=shrink)
    assert np.isfinite([*fitted.slope, *fitted.offset]).all()
    assert fitted.offset[3] < fitted.offset[0] < fitted.offset[2]
    moved = fitted.apply(scores)
    assert 0 < moved[:, 3].mean() < scores[:, 3].mean()


def test_fit_platt__helps_rare_classes_on_fresh_images() -> None:
    """40 classes of about 5 positives in 300 images: pulled lines beat the classes' own and the pooled one."""
    rng = np.random.default_rng(0)
    offsets, names = rng.normal(-3, 0.5, 40), [str(c) for c in range(40)]

    def sample(images: int) -> Pair:
        logits = rng.normal(-2, 1.5, (images, 40))
        return sigmoid(logits).astype(np.float32), rng.random(logits.shape) < sigmoid(logits + offsets)

    (scores, targets), (fresh_scores, fresh) = sample(300), sample(5000)

    def held_out(shrink: float) -> float:
        fitted = fit_platt(scores, targets, class_names=names, shrink=shrink)
        return log_loss(fitted.apply(fresh_scores), fresh)

    assert held_out(10) < min(held_out(1e-3), held_out(1e9), log_loss(fresh_scores, fresh))


def test_calibration__keeps_the_order_of_a_class() -> None:
    scores, targets = draw(9, images=300, slope=[0.4, 1, 2, 1])
    for fitted in (fit_temperature(scores, targets), fit_platt(scores, targets, class_names=NAMES)):
        calibrated = fitted.apply(scores)
        assert calibrated.dtype == np.float32
        np.testing.assert_allclose(
            average_precisions(calibrated, targets), average_precisions(scores, targets), atol=1e-3
        )


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_calibration__json_round_trip_is_exact_and_follows_the_model(kind: str) -> None:
    scores, targets = draw(10, images=200)
    fitted = fit_temperature(scores, targets) if kind == "temperature" else fit_platt(
        scores, targets, class_names=NAMES, fitted_on="val"
    )  # fmt: skip
    data = json.loads(json.dumps(fitted.to_json(), allow_nan=False))
    again = Calibration.from_json(data)
    np.testing.assert_array_equal(again.apply(scores), fitted.apply(scores))
    assert (again.fitted_on, again.num_images, again.class_names) == (fitted.fitted_on, 200, fitted.class_names)
    turned = Calibration.from_json(data, class_names=NAMES[::-1])
    np.testing.assert_array_equal(turned.apply(scores[:, ::-1]), fitted.apply(scores)[:, ::-1])


def test_calibration__names_the_problem() -> None:
    scores, targets = draw(11, images=50)
    fitted = fit_platt(scores, targets, class_names=NAMES)
    data = fitted.to_json()
    with pytest.raises(CalibrationError, match="differ in the classes dog, zebra"):
        Calibration.from_json(data, class_names=("person", "car", "hair drier", "zebra"))
    with pytest.raises(CalibrationError, match="kind='isotonic'"):
        Calibration.from_json(data | {"kind": "isotonic"})
    with pytest.raises(CalibrationError, match="not positive"):
        Calibration.from_json({"kind": "temperature", "slope": -1.0, "fitted_on": "x", "num_images": 1})
    with pytest.raises(CalibrationError, match="4 classes, scores of 3"):
        fitted.apply(scores[:, :3])
    with pytest.raises(CalibrationError, match="3 different class names for 4"):
        fit_platt(scores, targets, class_names=("a", "b", "c", "c"))
    with pytest.raises(CalibrationError, match="shrink=0"):
        fit_platt(scores, targets, class_names=NAMES, shrink=0)
    with pytest.raises(ScoringError, match="not logits"):
        fit_temperature(scores * 3, targets)
