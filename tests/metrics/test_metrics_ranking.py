import numpy as np
import pytest
import sklearn.metrics as skm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.metrics.ranking import average_precision, average_precisions, mean_average_precision


def by_steps(scores: np.ndarray, targets: np.ndarray) -> float:
    """The definition, one distinct score after the other."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        recall = targets[chosen].sum() / targets.sum()
        total += (recall - recall_before) * targets[chosen].mean()
        recall_before = recall
    return total


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=25))
@settings(max_examples=150, deadline=None)
def test_average_precision__equals_definition_and_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in rows], dtype=np.float32) / 5
    targets = np.array([label for _, label in rows])
    actual = average_precision(torch.from_numpy(scores), torch.from_numpy(targets))
    assert actual.dtype == torch.float64
    if targets.any():
        assert actual.item() == pytest.approx(by_steps(scores, targets), abs=1e-9)
        assert actual.item() == pytest.approx(skm.average_precision_score(targets, scores), abs=1e-9)
    else:
        assert actual.item() == 0.0


def test_average_precisions__equal_scikit_learn_per_class() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((500, 9), dtype=np.float32) ** 4
    targets = (rng.random((500, 9)) < np.linspace(0.01, 0.9, 9)).astype(np.uint8)
    expected = [skm.average_precision_score(targets[:, c], scores[:, c]) for c in range(9)]
    actual = average_precisions(torch.from_numpy(scores), torch.from_numpy(targets))
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-12)


def test_average_precisions__neighbouring_floats_are_no_tie() -> None:
    low = np.float32(0.9)
    scores = torch.tensor([low, np.nextafter(low, np.float32(1))])
    assert average_precision(scores, torch.tensor([0, 1])).item() == 1.0
    assert average_precision(scores, torch.tensor([1, 0])).item() == 0.5


def test_average_precisions__packed_and_float_sorts_agree() -> None:
    """Scores that rank alike, the one kind packed into integers, the other (logits) not."""
    scores = (torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) * 20).round() / 20
    targets = (torch.rand(200, 4, generator=torch.Generator().manual_seed(1)) < 0.2).to(torch.uint8)
    torch.testing.assert_close(average_precisions(scores - 2, targets), average_precisions(scores, targets))
    torch.testing.assert_close(average_precisions(scores.double(), targets), average_precisions(scores, targets))


def test_average_precisions__the_sign_of_zero_is_no_difference() -> None:
    scores, targets = torch.tensor([0.0, -0.0, 0.5]), torch.tensor([1, 0, 0])
    assert average_precision(scores, targets).item() == pytest.approx(1 / 3)


def test_mean_average_precision__leaves_absent_classes_out() -> None:
    scores, targets = torch.rand(50, 3), torch.zeros(50, 3, dtype=torch.uint8)
    assert mean_average_precision(scores, targets).item() == 0.0
    targets[3, 1] = 1
    assert mean_average_precision(scores, targets) == average_precision(scores[:, 1], targets[:, 1])


def test_average_precision__shuffled_targets_fall_to_the_prevalence() -> None:
    rng = np.random.default_rng(0)
    targets = torch.from_numpy(rng.random(20_000) < 0.1)
    scores = torch.from_numpy(rng.random(20_000, dtype=np.float32))
    assert average_precision(scores, targets).item() == pytest.approx(0.1, abs=0.01)
