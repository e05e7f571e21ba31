import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from src.analysis.threshold_search import (
    F1,
    KINDS,
    Objective,
    _keys,
    _worth_ranking,
    best_global_threshold,
    best_macro_threshold,
    best_threshold,
    best_threshold_per_class,
)
from src.config.schema.errors import ConfigError

coarse = st.integers(0, 6).map(lambda level: level / 6)
fine = st.floats(0, 1, width=32)
score = st.one_of(coarse, fine)
rows = st.lists(st.tuples(score, st.booleans()), max_size=20)
tables = st.lists(st.tuples(*[score] * 3, *[st.booleans()] * 3), max_size=12)
objectives = st.builds(
    Objective,
    kind=st.sampled_from(KINDS),
    beta=st.sampled_from([0.25, 1.0, 2.0]),
    target=st.sampled_from([0.2, 0.5, 2 / 3, 0.9, 1.0]),
)


def rates(decisions: NDArray[np.bool_], targets: NDArray[np.bool_], beta: float) -> tuple[float, float, float]:
    """F-beta from precision and recall, in the textbook's form; precision; recall."""
    tp = int((decisions & targets).sum())
    precision, recall = tp / max(int(decisions.sum()), 1), tp / max(int(targets.sum()), 1)
    if not tp:
        return 0.0, precision, recall
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall), precision, recall


def goal(fbeta: float, precision: float, recall: float, objective: Objective) -> float:
    """The objective's value; nan where the target is missed."""
    if objective.kind == "fbeta":
        return fbeta
    if objective.kind == "precision_at_recall":
        return precision if recall >= objective.target - 1e-12 else math.nan
    return recall if precision >= objective.target - 1e-12 else math.nan


def check_against_brute_force(
    scores: NDArray[np.float32], targets: NDArray[np.bool_], objective: Objective, threshold: float, value: float
) -> None:
    """Try every cut of the scores [N, C]: rates are means over the classes that have a positive."""
    scores, targets = scores[:, targets.any(axis=0)], targets[:, targets.any(axis=0)]

    def at(cut: float) -> tuple[float, float, float]:
        columns = [rates(s >= np.float32(cut), y, objective.beta) for s, y in zip(scores.T, targets.T, strict=True)]
        fbeta, precision, recall = np.mean(columns, axis=0)
        return float(fbeta), float(precision), float(recall)

    cuts = [*np.unique(scores).tolist(), 0.0]
    values = {cut: goal(*at(cut), objective) for cut in cuts}
    reached = {cut: found for cut, found in values.items() if not math.isnan(found)}
    assert 0 <= threshold <= 1
    assert threshold == float(np.float32(threshold))
    if not reached:
        assert objective.kind == "recall_at_precision"
        assert math.isnan(value)
        assert at(threshold)[1] == pytest.approx(max(at(cut)[1] for cut in cuts), abs=1e-12)
        return
    best = max(reached.values())
    assert value == pytest.approx(best, abs=1e-12)
    assert goal(*at(threshold), objective) == pytest.approx(best, abs=1e-12)
    highest = max(cut for cut, found in reached.items() if found >= best - 1e-12)
    assert ((scores >= np.float32(threshold)) == (scores >= np.float32(highest))).all()


@given(rows=rows, objective=objectives)
@settings(max_examples=150, deadline=None)
def test_best_threshold__equals_brute_force(rows: list[tuple[float, bool]], objective: Objective) -> None:
    scores = np.array([row[0] for row in rows], dtype=np.float32)
    targets = np.array([row[1] for row in rows], dtype=bool)
    threshold, value = best_threshold(scores, targets, objective)
    if targets.any():
        check_against_brute_force(scores[:, None], targets[:, None], objective, threshold, value)
    else:
        assert threshold == 0.5
        assert value == 0.0 if objective.kind == "fbeta" else math.isnan(value)


def as_table(table: list[tuple[float, ...]]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    scores = np.array([row[:3] for row in table], dtype=np.float32).reshape(-1, 3)
    return scores, np.array([row[3:] for row in table], dtype=bool).reshape(-1, 3)


@given(table=tables, objective=objectives)
@settings(max_examples=150, deadline=None)
def test_best_macro_threshold__equals_brute_force(table: list[tuple[float, ...]], objective: Objective) -> None:
    scores, targets = as_table(table)
    found = best_macro_threshold(scores, targets, objective)
    if targets.any():
        check_against_brute_force(scores, targets, objective, *found)
    else:
        assert found.threshold == 0.5
        assert found.value == 0.0 if objective.kind == "fbeta" else math.isnan(found.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gain", [0.0, 4.0], ids=["random", "separated"])
def test_best_macro_threshold__leaving_out_low_cuts_loses_nothing(kind: str, gain: float) -> None:
    """More cuts than probes, so that low ones are left out where the scores separate the classes."""
    rng = np.random.default_rng(3)
    targets = rng.random((300, 4)) < (0.5, 0.2, 0.05, 0.0)
    scores = (1 / (1 + np.exp(4 - gain * targets - rng.standard_normal(targets.shape)))).astype(np.float32)
    objective = Objective(kind=kind, target=0.6)
    check_against_brute_force(scores, targets, objective, *best_macro_threshold(scores, targets, objective))


@given(rows=rows, objective=objectives)
@settings(max_examples=50, deadline=None)
def test_best_macro_threshold__of_one_class_is_its_own(rows: list[tuple[float, bool]], objective: Objective) -> None:
    scores = np.array([row[0] for row in rows], dtype=np.float32)[:, None]
    targets = np.array([row[1] for row in rows], dtype=bool)[:, None]
    own = best_threshold(scores[:, 0], targets[:, 0], objective)
    assert best_macro_threshold(scores, targets, objective) == pytest.approx(own, abs=1e-12, nan_ok=True)


@given(table=tables, objective=objectives)
@settings(max_examples=50, deadline=None)
def test_best_threshold_per_class__is_that_of_each_column(table: list[tuple[float, ...]], objective: Objective) -> None:
    scores, targets = as_table(table)
    thresholds, values = best_threshold_per_class(scores, targets, objective)
    for c in range(3):
        assert (thresholds[c], values[c]) == pytest.approx(
            best_threshold(scores[:, c], targets[:, c], objective), nan_ok=True
        )


def test_best_global_threshold__micro_pools_and_macro_averages() -> None:
    """A frequent class that wants 0.5 and two rare ones that want 0.1."""
    scores = np.repeat([[0.6, 0.0, 0.0], [0.4, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.2]], [20, 20, 1, 1], axis=0)
    targets = np.repeat([[1, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]], [20, 20, 1, 1], axis=0)
    micro = best_global_threshold(scores, targets, F1)
    macro = best_global_threshold(scores, targets, F1, average="macro")
    assert micro == best_threshold(scores.ravel(), targets.ravel(), F1)
    assert micro.threshold == pytest.approx(0.5)
    assert macro.threshold == pytest.approx(0.1)
    assert macro.value == pytest.approx((2 * 20 / 60 + 1 + 1) / 3)
    with pytest.raises(ConfigError, match=r"thresholds\.average=makro: .* did you mean thresholds\.average=macro"):
        best_global_threshold(scores, targets, F1, average="makro")


def test_best_threshold__lies_midway_between_scores() -> None:
    scores = np.array([0.1, 0.25, 0.75, 0.9], dtype=np.float32)
    assert best_threshold(scores, np.array([0, 0, 1, 1]), F1) == (0.5, 1.0)
    assert best_macro_threshold(scores[:, None], np.array([[0], [0], [1], [1]]), F1) == (0.5, 1.0)


def test_best_macro_threshold__lies_midway_between_scores_of_all_classes() -> None:
    scores = np.array([[0.25, 0.0], [0.75, 0.5]])
    targets = np.array([[0, 0], [1, 0]])
    assert best_macro_threshold(scores, targets, F1).threshold == 0.5  # the second class has no positive
    targets[1, 1] = 1
    assert best_macro_threshold(scores, targets, F1).threshold == 0.375


def test_best_threshold__survives_rounding_of_the_scores() -> None:
    scores = np.array([0.2, 0.4, 0.6, 0.8], dtype=np.float32)
    targets = np.array([0, 0, 1, 1], dtype=bool)
    threshold, _ = best_threshold(scores, targets, F1)
    for jitter in (-1e-4, 1e-4):
        assert ((scores + np.float32(jitter) >= np.float32(threshold)) == targets).all()


@pytest.mark.parametrize("upper", [0.9, 0.5, 1.0, 1e-45, 0.30000001192092896])
def test_best_threshold__separates_neighbouring_floats(upper: float) -> None:
    high = np.float32(upper)
    scores = np.array([np.nextafter(high, np.float32(0)), high])
    threshold, f1 = best_threshold(scores, np.array([False, True]), F1)
    assert f1 == 1.0
    assert (scores >= np.float32(threshold)).tolist() == [False, True]


@pytest.mark.parametrize(
    ("scores", "targets", "f1", "highest"),
    [
        ([0.3, 0.3, 0.3], [1, 0, 0], 0.5, 0.3),
        ([1.0, 1.0], [1, 1], 1.0, 1.0),
        ([0.0, 0.0], [1, 0], 2 / 3, 0.0),
        ([-0.0, 0.0], [0, 1], 2 / 3, 0.0),
        ([0.9, 0.1], [0, 1], 2 / 3, 0.1),
        ([0.7], [1], 1.0, 0.7),
    ],
    ids=["all tied", "saturated", "all zero", "negative zero", "positive below", "single"],
)
def test_best_threshold__keeps_ties_together(
    scores: list[float], targets: list[int], f1: float, highest: float
) -> None:
    threshold, found = best_threshold(np.array(scores, dtype=np.float32), np.array(targets), F1)
    assert found == pytest.approx(f1)
    assert threshold <= np.float32(highest)


def test_best_threshold__unreachable_precision_is_nan_at_the_highest_precision() -> None:
    scores, targets = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 1, 1, 0])
    objective = Objective(kind="recall_at_precision", target=0.95)
    threshold, value = best_threshold(scores, targets, objective)
    assert math.isnan(value)
    assert 0.6 < threshold < 0.7  # precision 2/3; above 0.7 it is 1/2


def test_best_threshold__target_is_met_exactly() -> None:
    """9 of 10 is a recall of 0.9, although 0.9 has no exact binary form."""
    scores, targets = np.arange(20, 0, -1) / 20, np.array([1] * 9 + [0] * 5 + [1] + [0] * 5)
    threshold, value = best_threshold(scores, targets, Objective(kind="precision_at_recall", target=0.9))
    assert value == 1.0
    assert (scores >= threshold).sum() == 9


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "f1"}, r"thresholds\.objective=f1: must be one of fbeta"),
        ({"beta": 0.0}, r"thresholds\.beta=0\.0: must be > 0"),
        ({"beta": float("inf")}, r"thresholds\.beta=inf: must be > 0 and finite"),
        ({"target": 1.5}, r"thresholds\.target=1\.5: must lie in \(0, 1\]"),
        ({"target": 0.0}, r"thresholds\.target=0\.0"),
    ],
    ids=["kind", "beta", "beta infinite", "target above", "target zero"],
)
def test_objective__names_the_problem(fields: dict, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Objective(**fields)


@pytest.mark.real
def test_best_global_threshold__label_prior_on_real_labels_is_always_person() -> None:
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
    counts = np.sort(targets.sum(axis=0))[::-1].cumsum()
    constant = max(2 * tp / (k * len(rows) + targets.sum()) for k, tp in enumerate(counts, start=1))
    assert best_global_threshold(scores, targets, F1).value == pytest.approx(constant, abs=1e-12)


@pytest.mark.parametrize("decimals", [7, 2], ids=["distinct", "many ties"])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("gap", [0.0, 2.0, 6.0], ids=["random", "fair", "nearly perfect"])
def test_best_threshold__of_many_scores_is_what_sorting_all_of_them_finds(gap, beta, decimals, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    targets = rng.random(250_000) < 0.03
    scores = (1 / (1 + np.exp(3 - gap * targets - rng.normal(0, 1, len(targets))))).round(decimals).astype(np.float32)
    objective = Objective(beta=beta)
    found = best_threshold(scores, targets, objective)
    if gap == 2.0:
        assert len(_worth_ranking(_keys(scores, targets), int(targets.sum()), objective)) < len(scores) / 2
    monkeypatch.setattr("src.analysis.threshold_search._MANY", len(scores) + 1)
    assert best_threshold(scores, targets, objective) == found
