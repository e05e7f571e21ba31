import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, fbeta_score

from src.analysis.decisions import (
    DecisionError,
    by_threshold,
    count_decisions,
    count_per_class,
    f1_macro,
    f1_micro,
    fbeta_macro,
    top_k,
    top_k_and_threshold,
)

tables = st.lists(st.lists(st.integers(0, 4).map(lambda level: level / 4), min_size=5, max_size=5), max_size=6).map(
    lambda rows: np.array(rows, dtype=np.float32).reshape(-1, 5)
)


def test_by_threshold__compares_in_float32_one_or_each() -> None:
    scores = np.array([[0.1, 0.7], [0.7, 0.1]], dtype=np.float32)
    assert float(scores[0, 1]) < 0.7  # in float64 they would not reach it
    assert by_threshold(scores, 0.7).tolist() == [[False, True], [True, False]]
    assert by_threshold(scores.astype(np.float64), 0.7).tolist() == [[False, True], [True, False]]
    assert by_threshold(scores, np.array([0.2, 0.2])).tolist() == [[False, True], [True, False]]
    assert by_threshold(scores, np.array([0.05, 0.2])).tolist() == [[True, True], [True, False]]


@given(scores=tables, k=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_top_k__is_exactly_k_by_score_then_class_order(scores: np.ndarray, k: int) -> None:
    decisions = top_k(scores, k)
    for row, chosen in zip(scores, decisions, strict=True):
        expected = sorted(range(5), key=lambda c: (-row[c], c))[:k]
        assert np.flatnonzero(chosen).tolist() == sorted(expected)


@given(scores=tables, k=st.integers(0, 5), threshold=st.floats(0, 1, width=32))
@settings(max_examples=60, deadline=None)
def test_top_k_and_threshold__is_both(scores: np.ndarray, k: int, threshold: float) -> None:
    decisions = top_k_and_threshold(scores, k, threshold)
    assert (decisions == (top_k(scores, k) & by_threshold(scores, threshold))).all()
    assert (decisions.sum(axis=1) == np.minimum(k, by_threshold(scores, threshold).sum(axis=1))).all()


def test_top_k__all_equal_takes_the_first_classes() -> None:
    assert top_k(np.zeros((2, 4)), 3).tolist() == [[True, True, True, False]] * 2


@pytest.mark.parametrize("k", [-1, 5])
def test_top_k__names_the_problem(k: int) -> None:
    with pytest.raises(DecisionError, match=rf"k={k}: must lie in 0 to 4"):
        top_k(np.zeros((2, 4)), k)


def test_counts__give_the_scores_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    decisions, targets = rng.random((50, 6)) < 0.3, rng.random((50, 6)) < 0.2
    decisions[:, 1] = False
    counts = count_decisions(decisions, targets)
    options = {"zero_division": 0}
    assert f1_micro(counts) == pytest.approx(f1_score(targets, decisions, average="micro", **options))
    assert f1_macro(counts) == pytest.approx(f1_score(targets, decisions, average="macro", **options))
    expected = fbeta_score(targets, decisions, beta=2, average="macro", **options)
    assert fbeta_macro(counts, beta=2) == pytest.approx(expected)


def test_counts__absent_classes_stay_out_of_the_macro_mean() -> None:
    decisions = np.array([[True, True], [False, True]])
    counts = count_decisions(decisions, np.array([[1, 0], [0, 0]]))
    assert f1_macro(counts) == 1.0
    assert f1_micro(counts) == 2 * 1 / (3 + 1)
    nothing = count_decisions(np.zeros((2, 2), dtype=bool), np.zeros((2, 2)))
    assert (f1_micro(nothing), f1_macro(nothing)) == (0.0, 0.0)


@pytest.mark.parametrize("images", [0, 1, 254, 255, 2039, 2040, 2041, 4081, 5000])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_count_per_class__whatever_a_byte_holds(images: int, share: float) -> None:
    table = np.random.default_rng(0).random((images, 7)) < share
    for layout in (table, np.asfortranarray(table), np.repeat(table, 2, axis=1)[:, ::2]):
        counts = count_per_class(layout)
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(counts, np.count_nonzero(table, axis=0))


def test_count_per_class__of_no_class() -> None:
    assert count_per_class(np.zeros((3000, 0), bool)).shape == (0,)
