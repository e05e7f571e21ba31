"""Which mistakes are shown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from src.analysis.errors import ErrorKind, worst_errors

NAMES = ("a", "b")
CUTS = np.array([0.5, 0.1])


def test_worst_errors__compares_classes_by_the_share_of_the_way_to_the_end() -> None:
    scores = np.array([[0.25, 0.01], [0.45, 0.09]], dtype=np.float32)
    found = worst_errors(scores, np.ones((2, 2)), CUTS, NAMES)
    assert found["class_name"].tolist() == ["b", "a", "a", "b"]
    assert found["row"].tolist() == [0, 0, 1, 1]
    assert found["margin"].tolist() == pytest.approx([0.9, 0.5, 0.1, 0.1], abs=1e-6)
    assert found["threshold"].tolist() == pytest.approx([0.1, 0.5, 0.5, 0.1])


def test_worst_errors__false_positives_are_those_furthest_above() -> None:
    scores = np.array([[0.75, 0.19], [0.5, 0.05]], dtype=np.float32)
    found = worst_errors(scores, np.zeros((2, 2)), CUTS, NAMES, kind="false_positive")
    assert found["class_name"].tolist() == ["a", "b", "a"]
    assert found["margin"].tolist() == pytest.approx([0.5, 0.1, 0.0], abs=1e-6)


@given(
    scores=arrays(np.float32, (9, 3), elements=st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.5, 1.0]))),
    targets=arrays(np.uint8, (9, 3), elements=st.integers(0, 1)),
    cuts=arrays(np.float64, 3, elements=st.sampled_from([0.0, 0.2, 0.5, 1.0])),
    kind=st.sampled_from(["false_negative", "false_positive"]),
)
@settings(max_examples=80, deadline=None)
def test_worst_errors__are_mistakes_all_of_them_and_in_order(
    scores: NDArray[np.float32], targets: NDArray[np.uint8], cuts: NDArray[np.float64], kind: ErrorKind
) -> None:
    found = worst_errors(scores, targets, cuts, "abc", kind=kind, limit=1000, per_class=1000)
    decided = scores >= cuts.astype(np.float32)
    wrong = (targets == 1) & ~decided if kind == "false_negative" else (targets == 0) & decided
    assert sorted(zip(found["row"], found["class_idx"], strict=True)) == sorted(map(tuple, np.argwhere(wrong)))
    assert found["margin"].is_monotonic_decreasing
    assert found["margin"].between(0, 1).all()


def test_worst_errors__a_class_takes_few_places_and_the_page_has_an_end() -> None:
    scores = np.linspace(0, 0.4, 40, dtype=np.float32).reshape(20, 2)
    found = worst_errors(scores, np.ones((20, 2)), np.array([0.5, 0.5]), NAMES, per_class=3)
    assert found["class_name"].value_counts().to_dict() == {"a": 3, "b": 3}
    assert len(worst_errors(scores, np.ones((20, 2)), np.array([0.5, 0.5]), NAMES, limit=4)) == 4


def test_worst_errors__nothing_wrong_is_an_empty_table() -> None:
    found = worst_errors(np.ones((3, 2), np.float32), np.ones((3, 2)), CUTS, NAMES)
    assert len(found) == 0
    assert list(found) == ["row", "class_idx", "class_name", "score", "threshold", "margin"]
