import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from src.analysis.thresholds import ThresholdError, Thresholds, best_f1_threshold, fit_thresholds

NAMES = ("person", "car", "hair drier")


def f1_at(threshold: float, scores: NDArray[np.float32], targets: NDArray[np.bool_]) -> float:
    predicted = scores >= np.float32(threshold)
    total = predicted.sum() + targets.sum()
    return 2 * (predicted & targets).sum() / total if total else 0.0


def brute_force_f1(scores: NDArray[np.float32], targets: NDArray[np.bool_]) -> float:
    """Best F1 over every way to cut the scores."""
    return max(f1_at(cut, scores, targets) for cut in [*scores.tolist(), 0.0, 1.1])


coarse = st.integers(0, 6).map(lambda level: level / 6)
fine = st.floats(0, 1, width=32)
rows = st.lists(st.tuples(st.one_of(coarse, fine), st.booleans()), max_size=20)


@given(rows=rows)
@settings(max_examples=300, deadline=None)
def test_best_f1_threshold__equals_brute_force(rows: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in rows], dtype=np.float32)
    targets = np.array([label for _, label in rows], dtype=bool)
    threshold, f1 = best_f1_threshold(scores, targets)
    assert 0 <= threshold <= 1
    assert threshold == float(np.float32(threshold))
    if targets.any():
        assert f1 == pytest.approx(brute_force_f1(scores, targets), abs=1e-12)
        assert f1 == pytest.approx(f1_at(threshold, scores, targets), abs=1e-12)
    else:
        assert (threshold, f1) == (0.5, 0.0)


def test_best_f1_threshold__lies_midway_between_scores() -> None:
    scores = np.array([0.1, 0.25, 0.75, 0.9], dtype=np.float32)
    assert best_f1_threshold(scores, np.array([0, 0, 1, 1])) == (0.5, 1.0)


def test_best_f1_threshold__survives_rounding_of_the_scores() -> None:
    scores = np.array([0.2, 0.4, 0.6, 0.8], dtype=np.float32)
    targets = np.array([0, 0, 1, 1], dtype=bool)
    threshold, f1 = best_f1_threshold(scores, targets)
    for jitter in (-1e-4, 1e-4):
        assert f1_at(threshold, scores + np.float32(jitter), targets) == f1


@pytest.mark.parametrize("upper", [0.9, 0.5, 1.0, 1e-45, 0.30000001192092896])
def test_best_f1_threshold__separates_neighbouring_floats(upper: float) -> None:
    high = np.float32(upper)
    scores = np.array([np.nextafter(high, np.float32(0)), high])
    threshold, f1 = best_f1_threshold(scores, np.array([False, True]))
    assert f1 == 1.0
    assert (scores >= np.float32(threshold)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("scores", "targets", "f1", "highest"),
    [
        ([0.3, 0.3, 0.3], [1, 0, 0], 0.5, 0.3),
        ([1.0, 1.0], [1, 1], 1.0, 1.0),
        ([0.0, 0.0], [1, 0], 2 / 3, 0.0),
        ([1.0, 0.0], [0, 1], 2 / 3, 0.0),
        ([0.7], [1], 1.0, 0.7),
    ],
    ids=["all tied", "all one", "all zero", "positive at zero", "one image"],
)
def test_best_f1_threshold__degenerate_scores(
    scores: list[float], targets: list[int], f1: float, highest: float
) -> None:
    threshold, best = best_f1_threshold(np.array(scores), np.array(targets))
    assert best == pytest.approx(f1)
    assert 0 <= threshold <= np.float32(highest)
    assert f1_at(threshold, np.array(scores, dtype=np.float32), np.array(targets, dtype=bool)) == pytest.approx(f1)


def test_best_f1_threshold__no_images_or_no_positives_is_one_half() -> None:
    assert best_f1_threshold(np.zeros(0), np.zeros(0)) == (0.5, 0.0)
    assert best_f1_threshold(np.array([0.1, 0.9]), np.zeros(2)) == (0.5, 0.0)


def test_best_f1_threshold__shuffled_targets_fall_to_the_constant_baseline() -> None:
    rng = np.random.default_rng(0)
    targets = rng.random(20_000) < 0.2
    scores = np.clip(0.5 * targets + 0.5 * rng.random(20_000), 0, 1).astype(np.float32)
    always = 2 * targets.mean() / (1 + targets.mean())
    _, learnt = best_f1_threshold(scores, targets)
    threshold, shuffled = best_f1_threshold(scores, rng.permutation(targets))
    assert learnt == 1.0
    assert always <= shuffled < always + 0.005
    assert (scores >= threshold).mean() > 0.95


@given(
    rows=st.lists(st.tuples(*[coarse] * 3, *[st.booleans()] * 3), min_size=1, max_size=12),
    shrink=st.sampled_from([0.0, 0.5, 10.0, 1e12]),
)
@settings(max_examples=150, deadline=None)
def test_fit_thresholds__global_is_best_and_classes_shrink_by_support(
    rows: list[tuple[float, float, float, bool, bool, bool]], shrink: float
) -> None:
    scores = np.array([row[:3] for row in rows], dtype=np.float32)
    targets = np.array([row[3:] for row in rows], dtype=bool)
    fitted = fit_thresholds(scores, targets, class_names=NAMES, shrink=shrink)
    pooled = f1_at(fitted.global_, scores.ravel(), targets.ravel())
    assert pooled == pytest.approx(brute_force_f1(scores.ravel(), targets.ravel()), abs=1e-12)
    for c, threshold in enumerate(fitted.per_class):
        own, best = best_f1_threshold(scores[:, c], targets[:, c])
        support = targets[:, c].sum()
        weight = support / (support + shrink) if support else 0.0
        assert threshold == pytest.approx(weight * own + (1 - weight) * fitted.global_, abs=1e-6)
        if shrink == 0 and support:
            assert f1_at(threshold, scores[:, c], targets[:, c]) == pytest.approx(best, abs=1e-12)


def test_fit_thresholds__absent_class_takes_the_global_threshold() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random((30, 3), dtype=np.float32), rng.random((30, 3)) < 0.4
    targets[:, 2] = False
    fitted = fit_thresholds(scores, targets, class_names=NAMES, shrink=0)
    assert fitted.per_class[2] == fitted.global_
    assert fitted.global_ != 0.5


@pytest.mark.parametrize("images", [0, 4])
def test_fit_thresholds__nothing_to_fit_is_one_half(images: int) -> None:
    fitted = fit_thresholds(np.full((images, 3), 0.25), np.zeros((images, 3)), class_names=NAMES)
    assert fitted.global_ == 0.5
    assert fitted.per_class.tolist() == [0.5, 0.5, 0.5]
    assert fitted.num_images == images


def test_fit_thresholds__shrinking_helps_a_rare_class_on_fresh_images() -> None:
    """80 noisy classes of 5 positives each: the mean held-out F1 of shrunk thresholds beats the classes' own optima."""
    rng = np.random.default_rng(0)

    def draw(images: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        targets = rng.random((images, 80)) < 0.02
        logits = 2.0 * targets + rng.standard_normal(targets.shape) - 2
        return (1 / (1 + np.exp(-logits))).astype(np.float32), targets

    names = [str(c) for c in range(80)]
    (scores, targets), (fresh_scores, fresh_targets) = draw(250), draw(4000)

    def held_out(shrink: float) -> float:
        per_class = fit_thresholds(scores, targets, class_names=names, shrink=shrink).per_class
        columns = zip(per_class, fresh_scores.T, fresh_targets.T, strict=True)
        return float(np.mean([f1_at(*column) for column in columns]))

    assert held_out(10.0) > held_out(0.0) + 0.01


@pytest.mark.parametrize(
    ("scores", "targets", "names", "problem"),
    [
        (np.array([[0.1, 3.5]]), np.zeros((1, 2)), "ab", r"scores outside \[0, 1\]: .* not logits"),
        (np.array([[0.1, np.nan]]), np.zeros((1, 2)), "ab", "scores outside"),
        (np.zeros((2, 2)), np.zeros((2, 3)), "ab", r"scores \(2, 2\) and targets \(2, 3\)"),
        (np.zeros(4), np.zeros(4), "abcd", r"expected the same \[N, C\]"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "aa", "1 different class names for 2 classes"),
    ],
    ids=["logits", "nan", "shape", "vector", "names"],
)
def test_fit_thresholds__names_the_problem(
    scores: NDArray[np.float64], targets: NDArray[np.float64], names: str, problem: str
) -> None:
    with pytest.raises(ThresholdError, match=problem):
        fit_thresholds(scores, targets, class_names=list(names))


def fitted_example() -> Thresholds:
    rng = np.random.default_rng(1)
    return fit_thresholds(rng.random((40, 3)), rng.random((40, 3)) < 0.3, class_names=NAMES, fitted_on="train")


def test_thresholds__json_round_trip_is_exact() -> None:
    fitted = fitted_example()
    data = json.loads(json.dumps(fitted.to_json(), allow_nan=False))
    assert list(data) == ["global", "per_class", "fitted_on", "objective", "num_images"]
    assert data["fitted_on"] == "train"
    assert "micro-F1" in data["objective"]
    again = Thresholds.from_json(data)
    assert again.to_json() == fitted.to_json()
    np.testing.assert_array_equal(again.per_class.astype(np.float32), fitted.per_class)


def test_thresholds__from_json_follows_the_order_of_the_model() -> None:
    fitted = fitted_example()
    again = Thresholds.from_json(fitted.to_json(), class_names=NAMES[::-1])
    assert again.class_names == NAMES[::-1]
    assert again.per_class.tolist() == fitted.per_class[::-1].tolist()


@pytest.mark.parametrize(
    ("change", "names", "problem"),
    [
        ({}, ("person", "car", "dog"), "differ in the classes dog, hair drier"),
        ({"global": 1.5}, None, r"outside \[0, 1\]"),
        ({"per_class": dict.fromkeys(NAMES, -0.1)}, None, r"outside \[0, 1\]"),
        ({"global": None}, None, "lack global"),
    ],
    ids=["classes", "global", "per class", "missing"],
)
def test_thresholds__from_json_names_the_problem(change: dict, names: tuple[str, ...] | None, problem: str) -> None:
    data = {key: value for key, value in (fitted_example().to_json() | change).items() if value is not None}
    with pytest.raises(ThresholdError, match=problem):
        Thresholds.from_json(data, class_names=names)


def test_fit_thresholds__forty_thousand_images_take_well_under_a_second() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random((40_000, 80), dtype=np.float32) ** 3, rng.random((40_000, 80)) < 0.036
    seconds = []
    for _ in range(3):
        start = time.process_time()
        fit_thresholds(scores, targets, class_names=[str(c) for c in range(80)])
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0


@pytest.mark.real
def test_best_f1_threshold__label_prior_on_real_labels_is_always_person() -> None:
    """Scoring every image by class frequency, the best global cut is a constant answer."""
    if "COCO_REAL" not in os.environ:
        pytest.skip("COCO_REAL is not set: a folder with real COCO labels")
    instances = json.loads(Path(os.environ["COCO_REAL"], "annotations/instances_val2017.json").read_text())
    rows = {image["id"]: row for row, image in enumerate(instances["images"])}
    columns = {category["id"]: column for column, category in enumerate(instances["categories"])}
    targets = np.zeros((len(rows), len(columns)), dtype=bool)
    for box in instances["annotations"]:
        targets[rows[box["image_id"]], columns[box["category_id"]]] = True
    scores = np.broadcast_to(targets.mean(axis=0).astype(np.float32), targets.shape)
    names = [category["name"] for category in instances["categories"]]
    fitted = fit_thresholds(scores, targets, class_names=names)
    counts = np.sort(targets.sum(axis=0))[::-1].cumsum()
    constant = max(2 * tp / (k * len(rows) + targets.sum()) for k, tp in enumerate(counts, start=1))
    assert f1_at(fitted.global_, scores.ravel(), targets.ravel()) == pytest.approx(constant, abs=1e-12)
