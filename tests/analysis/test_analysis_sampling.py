"""Class counts of an epoch against counting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from src.analysis.imbalance import class_table, summarize
from src.analysis.sampling import expected_counts, sampling_table, summarize_sampling

TARGETS = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]], np.uint8)
DRAWS = np.array([3.0, 0.5, 0.5, 2.0])
NAMES = ["person", "toaster", "unicorn"]

tables = st.tuples(st.integers(1, 30), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


@given(tables, st.integers(0, 2**32 - 1))
def test_expected_counts__whole_draws_are_the_counts_of_the_repeated_table(targets: np.ndarray, seed: int) -> None:
    draws = np.random.default_rng(seed).integers(0, 5, len(targets))
    repeated = np.repeat(targets, draws, axis=0)
    np.testing.assert_array_equal(expected_counts(targets, draws.astype(float)), repeated.sum(axis=0))


def test_sampling_table__one_row_per_class() -> None:
    table = sampling_table(TARGETS, DRAWS, NAMES)
    assert list(table.columns) == ["class_name", "count", "expected_count", "factor", "group"]
    assert table["class_name"].tolist() == NAMES
    assert table["count"].tolist() == [3, 1, 0]
    assert table["expected_count"].tolist() == [4.0, 3.0, 0.0]
    assert table["factor"].tolist()[:2] == pytest.approx([4 / 3, 3.0])
    assert np.isnan(table["factor"][2])
    assert table["group"].tolist() == class_table(TARGETS, NAMES)["group"].tolist()


def test_summarize_sampling__before_and_after() -> None:
    found = summarize_sampling(TARGETS, DRAWS)
    assert (found.images, found.visits) == (4, 6)
    assert (found.imbalance_before, found.imbalance_after) == (3.0, pytest.approx(4 / 3))
    assert (found.neg_pos_before, found.neg_pos_after) == (8 / 4, pytest.approx(11 / 7))
    assert (found.labels_before, found.labels_after) == (1.0, pytest.approx(7 / 6))
    assert (found.most_visits, found.left_out) == (3.0, 1.0)


@given(tables)
def test_summarize_sampling__one_visit_each_changes_nothing(targets: np.ndarray) -> None:
    found, plain = (
        summarize_sampling(targets, np.ones(len(targets))),
        summarize(targets, list("abcde")[: targets.shape[1]]),
    )
    for before, after, reference in (
        (found.imbalance_before, found.imbalance_after, plain.imbalance_ratio),
        (found.neg_pos_before, found.neg_pos_after, plain.neg_pos),
        (found.labels_before, found.labels_after, plain.labels_mean),
    ):
        np.testing.assert_array_equal([before, after], [reference, reference])
    assert (found.visits, found.most_visits, found.left_out) == (len(targets), 1.0, 0.0)


def test_summarize_sampling__no_class_at_all() -> None:
    found = summarize_sampling(np.zeros((3, 2), np.uint8), np.ones(3))
    assert np.isnan(found.imbalance_after)
    assert found.neg_pos_after == np.inf
