"""What is put before someone who decides: remedies, thresholds by purpose, which run to keep."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as skm

from src.analysis.compare import Comparison
from src.analysis.recommendation import recommend
from src.analysis.remedies import group_scores, remedies
from src.analysis.threshold_choices import choice_table, fixed_thresholds, threshold_choices

NAMES = tuple("abcdef")


def scores_and_targets(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets_NC = (rng.random((300, 6)) < np.linspace(0.5, 0.1, 6)).astype(np.uint8)
    logits_NC = 1.5 * (2 * targets_NC.astype(int) - 1) + rng.normal(0, 1.5, targets_NC.shape)
    return (1 / (1 + np.exp(-logits_NC))).astype(np.float32), targets_NC


def test_group_scores__means_of_the_groups() -> None:
    per_class = pd.DataFrame(
        {
            "group": ["head", "tail", "head", "tail"], "ap": [0.8, 0.2, 0.6, np.nan], "f1": [0.7, 0.1, 0.5, np.nan],
            "f1_at_half": [0.6, 0.0, 0.4, np.nan],
        }
    )  # fmt: skip
    found = group_scores(per_class, np.array([100, 3, 50, 1]))
    assert list(found["group"]) == ["head", "tail"]
    assert list(found["train_images"]) == [75, 2]
    assert found[["ap", "f1", "f1_at_half"]].to_numpy() == pytest.approx(np.array([[0.7, 0.6, 0.5], [0.2, 0.1, 0.0]]))


def table(head: tuple[float, float, float], tail: tuple[float, float, float]) -> pd.DataFrame:
    return pd.DataFrame([("head", *head), ("tail", *tail)], columns=["group", "ap", "f1", "f1_at_half"])


def test_remedies__follow_from_what_is_wrong() -> None:
    ranks_badly = remedies(table((0.7, 0.6, 0.6), (0.3, 0.3, 0.25)), imbalance_ratio=300)
    assert list(ranks_badly["change"]) == [
        "data.sampler=repeat_factor", "loss=asl", "loss=bce loss.pos_weight=effective"
    ]  # fmt: skip
    assert ranks_badly["because"].str.contains("AP of the tail is 0.30, of the head 0.70").all()
    decides_badly = remedies(table((0.7, 0.6, 0.6), (0.65, 0.6, 0.2)), imbalance_ratio=300)
    assert list(decides_badly["change"]) == [""]
    assert "decide on thresholds first" in decides_badly["because"][0]
    assert (
        "imbalance is not what holds back" in remedies(table((0.7,) * 3, (0.7,) * 3), imbalance_ratio=3)["because"][0]
    )
    assert "the same for all classes" in remedies(table((0.7,) * 3, (0.7,) * 3), imbalance_ratio=99)["because"][0]


def test_threshold_choices__reach_their_purpose_where_they_were_fitted() -> None:
    scores_NC, targets_NC = scores_and_targets(0)
    choices = threshold_choices(scores_NC, targets_NC, class_names=NAMES, fitted_on="holdout")
    found = choice_table(choices, scores_NC, targets_NC).set_index(["choice", "mode"])
    f1 = found.xs("global", level="mode")["f1_micro"]
    assert f1["F1"] == f1.max()
    assert found.loc[("recall 0.8", "global"), "recall_micro"] >= 0.8
    assert found.loc[("precision 0.8", "global"), "precision_micro"] >= 0.8
    assert found.loc[("F2", "global"), "recall_micro"] >= found.loc[("F1", "global"), "recall_micro"]


def test_choice_table__equals_scikit_learn() -> None:
    scores_NC, targets_NC = scores_and_targets(1)
    found = choice_table({"0.5": fixed_thresholds(0.5, NAMES)}, scores_NC, targets_NC)
    decided_NC = scores_NC >= 0.5
    for average in ("micro", "macro"):
        expected = skm.precision_recall_fscore_support(targets_NC, decided_NC, average=average, zero_division=0)[:3]
        columns = [f"{name}_{average}" for name in ("precision", "recall", "f1")]
        assert found[columns].to_numpy() == pytest.approx(np.array([expected] * 2))
    assert list(found["named"]) == pytest.approx([decided_NC.sum(axis=1).mean()] * 2)


@pytest.fixture
def comparison() -> Comparison:
    """Three groups of two runs; b is clearly better, c perhaps."""
    labels = ["a", "a", "b", "b", "c", "c"]
    runs = pd.DataFrame({"run": [f"run{k}" for k in range(6)], "group": labels})
    columns = ["group", "reference", "metric", "difference", "low", "high", "covers"]
    differences = pd.DataFrame(
        [("b", "a", "map", 0.02, 0.01, 0.03, "images"), ("c", "a", "map", 0.04, -0.01, 0.09, "images")],
        columns=columns,
    )
    curves = pd.DataFrame(
        [(f"run{k}", label, 1, "holdout/map", 0.1 * k) for k, label in enumerate(labels)],
        columns=["run", "group", "epoch", "metric", "value"],
    )
    nothing = pd.DataFrame()
    return Comparison(
        split="val", num_images=1, reference="a", level=0.95, runs=runs, groups=nothing, differences=differences,
        classes=nothing, curves=curves, options=nothing, notes=(),
    )  # fmt: skip


def test_recommend__the_clearly_better_one_and_its_best_run_on_the_holdout(comparison: Comparison) -> None:
    found = recommend(comparison)
    assert (found.group, found.run) == ("b", "run3")
    assert found.because == ("map is higher than that of a by +0.0200 (95% interval +0.0100 to +0.0300, over images)")


def test_recommend__the_reference_stays_where_nothing_is_clear(comparison: Comparison) -> None:
    unclear = replace(comparison, differences=comparison.differences.assign(low=-0.1))
    found = recommend(unclear)
    assert (found.group, found.run) == ("a", "run1")
    assert "no map is clearly higher; closest is c with +0.0400" in found.because
    alone = replace(comparison, differences=comparison.differences[:0], curves=comparison.curves[:0])
    assert recommend(alone).run == "run0"
    assert "nothing to choose between but seeds" in recommend(alone).because
