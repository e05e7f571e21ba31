import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from src.analysis import resampling
from src.analysis.bootstrap import Interval, bootstrap, bootstrap_classes, interval, paired_bootstrap, resample
from src.analysis.decision_metrics import ScoringError, class_counts, decision_metrics, f1
from src.analysis.decisions import by_threshold
from src.analysis.ranking_metrics import average_precisions, ranking_metrics
from src.analysis.resampling import draw_weights

HEADLINE = ["map", "f1_micro", "f1_macro", "cf1", "of1", "f1_micro_tuned", "f1_macro_tuned"]
Pair = tuple[NDArray[np.float32], NDArray[np.uint8]]


def draw(
    seed: int, *, images: int = 40, classes: int = 5, levels: int = 0, skill: float = 2.0, rate: float | None = None
) -> Pair:
    """Scores that know something; the last class is absent, the one before it has a single positive."""
    rng = np.random.default_rng(seed)
    rates = np.linspace(0.5, 0.1, classes) if rate is None else np.full(classes, rate)
    targets = (rng.random((images, classes)) < rates).astype(np.uint8)
    if rate is None:
        targets[:, -2:] = 0
        targets[images // 2, -2] = 1
    logits = skill * targets + rng.standard_normal(targets.shape) - 1
    scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return ((scores * levels).round() / np.float32(levels) if levels else scores), targets


def headline(scores: NDArray, targets: NDArray, thresholds: tuple[float, NDArray]) -> dict[str, float]:
    """The headline numbers by the functions that score a split."""
    half = decision_metrics(by_threshold(scores, 0.5), targets)
    return {name: half[name] for name in ("f1_micro", "f1_macro", "cf1", "of1")} | {
        "map": ranking_metrics(scores, targets)["map"],
        "f1_micro_tuned": decision_metrics(by_threshold(scores, thresholds[0]), targets)["of1"],
        "f1_macro_tuned": decision_metrics(by_threshold(scores, thresholds[1]), targets)["f1_macro"],
    }


@pytest.mark.parametrize("levels", [0, 4, 1], ids=["distinct", "tied", "nearly all tied"])
def test_resample__equals_scoring_the_drawn_images_one_by_one(levels: int) -> None:
    (scores, targets), thresholds = draw(0, levels=levels), (0.35, np.array([0.2, 0.4, 0.6, 0.5, 0.5]))
    found = resample(scores, targets, thresholds, resamples=60, seed=3, level=0.95)
    weights = np.concatenate(list(draw_weights(len(scores), 60, 3)))
    drawn = [np.repeat(np.arange(len(scores)), row) for row in weights]
    assert any(not targets[images, 3].any() for images in drawn)
    assert list(found.headline) == HEADLINE
    for r, images in enumerate(drawn):
        expected = headline(scores[images], targets[images], thresholds)
        assert {name: values[r] for name, values in found.headline.items()} == pytest.approx(expected, abs=1e-12)
        present = targets[images].any(axis=0)
        ap = np.where(present, average_precisions(scores[images], targets[images]), np.nan)
        own = np.where(present, f1(class_counts(by_threshold(scores, thresholds[1])[images], targets[images])), np.nan)
        np.testing.assert_allclose(found.ap[r], ap, atol=1e-12)
        np.testing.assert_allclose(found.f1[r], own, atol=1e-12)


def test_draw_weights__first_the_sample_then_n_of_n_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.concatenate(list(draw_weights(30, 500, 7)))
    assert weights.shape == (501, 30)
    assert (weights[0] == 1).all()
    assert (weights.sum(axis=1) == 30).all()
    assert weights[1:].var() == pytest.approx(1 - 1 / 30, rel=0.05)
    monkeypatch.setattr(resampling, "CHUNK", 70)
    parts = list(draw_weights(30, 500, 7))
    assert len(parts) == 251
    np.testing.assert_array_equal(np.concatenate(parts), weights)


def test_bootstrap__is_the_basic_interval_of_the_resamples() -> None:
    (scores, targets), own = draw(1, images=200), np.full(5, 0.4)
    found = bootstrap(scores, targets, global_threshold=0.3, class_thresholds_C=own, resamples=200, seed=1, level=0.9)
    resampled = resample(scores, targets, (0.3, own), resamples=200, seed=1, level=0.9)
    expected = headline(scores, targets, (0.3, own))
    assert list(found) == HEADLINE
    for name, measured in found.items():
        low, high = np.quantile(resampled.headline[name][1:], [0.05, 0.95])
        assert measured.value == pytest.approx(expected[name], abs=1e-12)
        assert (measured.low, measured.high) == pytest.approx((2 * measured.value - high, 2 * measured.value - low))
        assert measured.low < measured.value < measured.high
        assert measured.at_most_zero is None


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([0, 10]))
@settings(max_examples=15, deadline=None)
def test_bootstrap__holds_the_value_and_stays_a_fraction(seed: int, levels: int) -> None:
    scores, targets = draw(seed, images=200, levels=levels, rate=0.3)
    found = bootstrap(scores, targets, global_threshold=0.4, class_thresholds_C=np.full(5, 0.4), resamples=100)
    for measured in found.values():
        assert 0 <= measured.low <= measured.value <= measured.high <= 1


def test_bootstrap__perfect_scores_have_no_interval() -> None:
    _, targets = draw(2)
    scores = targets.astype(np.float32)
    for measured in bootstrap(
        scores, targets, global_threshold=0.5, class_thresholds_C=np.full(5, 0.5), resamples=50
    ).values():
        assert measured == Interval(1.0, 1.0, 1.0)


def test_bootstrap__same_seed_same_interval_more_images_narrower() -> None:
    def widths(images: int, seed: int = 0) -> dict[str, float]:
        scores, targets = draw(4, images=images, rate=0.3)
        own = np.full(5, 0.4)
        found = bootstrap(scores, targets, global_threshold=0.4, class_thresholds_C=own, resamples=200, seed=seed)
        return {name: measured.high - measured.low for name, measured in found.items()}

    few, many = widths(250), widths(4000)
    assert widths(250) == few
    assert widths(250, seed=1) != few
    for name in HEADLINE:
        assert few[name] / many[name] == pytest.approx(4, rel=0.35)


def test_interval__holds_the_truth_about_as_often_as_it_says() -> None:
    """Micro-F1 of 300 images against that of 100,000: 95 % intervals, 120 sets; 0.89 is three standard errors below."""
    own = np.full(2, 0.4)
    truth = headline(*draw(99, images=100_000, classes=2, rate=0.3), (0.4, own))["f1_micro"]
    sets = [draw(seed, images=300, classes=2, rate=0.3) for seed in range(120)]
    options = {"global_threshold": 0.4, "class_thresholds_C": own, "resamples": 100}
    found = [bootstrap(scores, targets, **options)["f1_micro"] for scores, targets in sets]
    assert 0.89 <= np.mean([measured.low <= truth <= measured.high for measured in found]) <= 0.99


def test_interval__takes_the_bias_of_resampling_off() -> None:
    resampled = np.linspace(0.45, 0.65, 101)
    values = np.array([0.5, *resampled])
    assert (interval(values, level=0.9).low, interval(values, level=0.9).high) == pytest.approx((0.36, 0.54))
    assert interval(values - 0.4, level=0.9).low == 0
    difference = interval(values - 0.4, level=0.9, difference=True)
    assert (difference.low, difference.high) == pytest.approx((-0.04, 0.14))
    assert difference.at_most_zero == pytest.approx(0.25, abs=0.02)


def test_interval__holds_the_value_where_the_bias_exceeds_the_spread() -> None:
    for resampled in (np.linspace(0.55, 0.75, 101), np.linspace(0.25, 0.45, 101)):
        measured = interval(np.array([0.5, *resampled]), level=0.9)
        assert measured.low <= 0.5 <= measured.high
        assert 0.5 in (measured.low, measured.high)


def test_bootstrap_classes__percentiles_and_nan_for_an_absent_class() -> None:
    (scores, targets), own = draw(5, images=60), np.array([0.2, 0.4, 0.6, 0.5, 0.5])
    table = bootstrap_classes(scores, targets, class_thresholds_C=own, resamples=100, seed=2, level=0.8)
    resampled = resample(scores, targets, (0.5, own), resamples=100, seed=2, level=0.8)
    assert list(table) == ["ap", "ap_low", "ap_high", "f1", "f1_low", "f1_high"]
    assert table.loc[4].isna().all()
    assert not table.loc[:3].isna().any(axis=None)
    np.testing.assert_allclose(table["ap"][:4], average_precisions(scores, targets)[:4], atol=1e-12)
    np.testing.assert_allclose(table["f1"][:4], f1(class_counts(by_threshold(scores, own), targets))[:4], atol=1e-12)
    single = resampled.ap[1:, 3]
    assert 20 < np.isnan(single).sum() < 60
    assert table.loc[3, ["ap_low", "ap_high"]].tolist() == pytest.approx(np.nanquantile(single, [0.1, 0.9]).tolist())


def test_bootstrap_classes__all_positive_class_is_certain() -> None:
    scores, targets = draw(6, images=50, rate=0.3)
    targets[:, 0] = 1
    table = bootstrap_classes(scores, targets, class_thresholds_C=np.zeros(5), resamples=30)
    pd.testing.assert_series_equal(table.loc[0], pd.Series(1.0, index=table.columns, name=0))


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_paired_bootstrap__a_model_differs_from_itself_by_exactly_nothing(seed: int) -> None:
    (scores, targets), thresholds = draw(seed, levels=5), (0.4, np.full(5, 0.3))
    options = {"thresholds_a": thresholds, "thresholds_b": thresholds, "resamples": 30}
    found = paired_bootstrap(scores, scores.copy(), targets, **options)
    assert found == dict.fromkeys(HEADLINE, Interval(0.0, 0.0, 0.0, 1.0))


def test_paired_bootstrap__is_antisymmetric_and_narrower_than_two_intervals() -> None:
    scores, targets = draw(7, images=400, rate=0.3)
    noise = np.random.default_rng(0).normal(0, 0.1, scores.shape)
    worse = np.clip(scores + noise, 0, 1).astype(np.float32)
    a, b = (0.4, np.full(5, 0.4)), (0.45, np.full(5, 0.45))
    there = paired_bootstrap(scores, worse, targets, thresholds_a=a, thresholds_b=b, resamples=200)
    back = paired_bootstrap(worse, scores, targets, thresholds_a=b, thresholds_b=a, resamples=200)
    alone = [
        bootstrap(s, targets, global_threshold=t[0], class_thresholds_C=t[1], resamples=200)
        for s, t in ((scores, a), (worse, b))
    ]
    for name in HEADLINE:
        assert there[name].value == pytest.approx(alone[0][name].value - alone[1][name].value, abs=1e-12)
        assert (there[name].low, there[name].high) == pytest.approx((-back[name].high, -back[name].low), abs=1e-12)
        unpaired = np.hypot(*(measured[name].high - measured[name].low for measured in alone))
        assert there[name].high - there[name].low < 0.7 * unpaired
    assert there["map"].low > 0
    assert there["map"].at_most_zero == 0
    assert back["map"].at_most_zero == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scores_NC": np.full((40, 5), 2.0)}, "not logits"),
        ({"targets_NC": np.zeros((40, 4))}, "expected the same"),
        ({"class_thresholds_C": np.zeros(4)}, "thresholds for 5 classes"),
        ({"resamples": 0}, "resamples=0"),
        ({"level": 1.0}, "level=1"),
    ],
    ids=["logits", "shape", "thresholds", "resamples", "level"],
)
def test_bootstrap__names_the_problem(change: dict, problem: str) -> None:
    scores, targets = draw(0)
    valid = {"scores_NC": scores, "targets_NC": targets, "global_threshold": 0.5, "class_thresholds_C": np.zeros(5)}
    with pytest.raises(ScoringError, match=problem):
        bootstrap(**(valid | change))


def test_bootstrap__six_hundred_images_take_well_under_two_seconds() -> None:
    scores, targets = draw(8, images=600, classes=80, rate=0.036)
    seconds = []
    for _ in range(2):
        start = time.process_time()
        bootstrap(scores, targets, global_threshold=0.4, class_thresholds_C=np.full(80, 0.4))
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.5
