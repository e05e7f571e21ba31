import numpy as np
import pytest
from numpy.typing import NDArray

from src.analysis import shrinkage
from src.analysis.decisions import DecisionCounts, count_decisions
from src.analysis.shrinkage import STRENGTHS, choose_strength, fit, shrunk
from src.analysis.threshold_search import F1, Objective


def draw(images: int, *, classes: int, signal: float, offset: float, seed: int) -> tuple[NDArray, NDArray]:
    """Rare classes; ``offset`` is the spread of their best thresholds."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, classes)) < 0.03
    logits = signal * targets + rng.standard_normal(targets.shape) + offset * rng.standard_normal(classes)
    return (1 / (1 + np.exp(2 - logits))).astype(np.float32), targets


def test_shrunk__limits_and_halfway() -> None:
    own, positives = np.array([0.75, 0.25, 0.5]), np.array([10, 30, 0])
    assert shrunk(own, 0.125, positives, 0.0).tolist() == [0.75, 0.25, 0.125]
    assert shrunk(own, 0.125, positives, float("inf")).tolist() == [0.125] * 3
    np.testing.assert_allclose(shrunk(own, 0.125, positives, 10.0), [0.4375, 0.21875, 0.125])


def reference_worth(totals: DecisionCounts, objective: Objective) -> float:
    values = []
    for tp, predicted, positives in zip(*totals, strict=True):
        if not positives:
            continue
        precision, recall = tp / max(predicted, 1), tp / positives
        if objective.kind == "fbeta":
            squared = objective.beta**2
            values.append((1 + squared) * precision * recall / (squared * precision + recall) if tp else 0.0)
        else:
            values.append(-abs((recall if objective.kind == "precision_at_recall" else precision) - objective.target))
    return float(np.mean(values))


@pytest.mark.parametrize("average", ["micro", "macro"])
@pytest.mark.parametrize(
    "objective",
    [F1, Objective(beta=2), Objective("precision_at_recall", target=0.8), Objective("recall_at_precision", target=0.5)],
    ids=str,
)
def test_choose_strength__equals_the_plain_loops(objective: Objective, average: str) -> None:
    scores, targets = draw(210, classes=6, signal=2.0, offset=0.4, seed=1)
    fold_N = np.random.default_rng(4).permutation(210) % 3
    worth = {}
    for strength in STRENGTHS:
        decisions = np.zeros(scores.shape, dtype=bool)
        for fold in range(3):
            fitted = fit(scores[fold_N != fold], targets[fold_N != fold], objective=objective, average=average)
            decisions[fold_N == fold] = scores[fold_N == fold] >= fitted.shrunk(strength).astype(np.float32)
        worth[strength] = reference_worth(count_decisions(decisions, targets), objective)
    expected = max(strength for strength, value in worth.items() if value >= max(worth.values()) - 1e-12)
    assert choose_strength(scores, targets, objective=objective, average=average, folds=3, seed=4) == expected


def test_choose_strength__a_fold_is_never_decided_with_its_own_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image is decided once for each strength, with thresholds fitted on all images but its fold."""
    scores = np.random.default_rng(0).permutation(60).reshape(20, 3).astype(np.float32) / 60  # no two are equal
    targets = scores > 0.7
    seen: list[set[float]] = []
    decided: list[float] = []

    def spy_fit(scores_NC: NDArray, targets_NC: NDArray, **options: object) -> shrinkage.Fit:
        seen.append(set(scores_NC.ravel().tolist()))
        return fit(scores_NC, targets_NC, **options)

    def spy_decide(scores_NC: NDArray, thresholds_C: NDArray) -> NDArray:
        assert not seen[-1] & set(scores_NC.ravel().tolist())
        assert len(seen[-1]) + scores_NC.size == scores.size
        decided.extend(scores_NC.ravel().tolist())
        return scores_NC >= thresholds_C

    monkeypatch.setattr(shrinkage, "fit", spy_fit)
    monkeypatch.setattr(shrinkage, "by_threshold", spy_decide)
    choose_strength(scores, targets, objective=F1, average="micro", folds=5)
    assert len(seen) == 5
    assert sorted(decided) == sorted(scores.ravel().tolist() * len(STRENGTHS))


@pytest.mark.parametrize("images", [0, 1, 3, 50])
def test_choose_strength__nothing_to_choose_by_is_the_strongest(images: int) -> None:
    scores, targets = np.full((images, 2), 0.25, dtype=np.float32), np.zeros((images, 2), dtype=bool)
    assert choose_strength(scores, targets, objective=F1, average="micro") == float("inf")


def test_choose_strength__follows_the_data() -> None:
    """Equal classes of few positives are kept together; classes whose best thresholds differ are let go."""
    alike = draw(400, classes=40, signal=2.0, offset=0.0, seed=0)
    apart = draw(4000, classes=40, signal=2.0, offset=1.5, seed=0)
    strengths = [choose_strength(*table, objective=F1, average="micro") for table in (alike, apart)]
    assert strengths[0] >= 10
    assert strengths[1] <= 2
    assert strengths[0] == choose_strength(*alike, objective=F1, average="micro"), "seeded"
