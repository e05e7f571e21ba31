import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from src.analysis.bootstrap import bootstrap, bootstrap_classes
from src.analysis.calibration import brier, classwise_ece, ece
from src.analysis.decision_metrics import ScoringError, decision_metrics
from src.analysis.decisions import by_threshold, top_k, top_k_and_threshold
from src.analysis.imbalance import constant_baselines
from src.analysis.judgement import RULES, Judgement, judge
from src.analysis.ranking_metrics import ranking_metrics

NAMES = ("person", "car", "dog", "kite", "toaster")
OWN = np.array([0.2, 0.4, 0.6, 0.3, 0.5])
GROUPS = np.array([0, 0, 1, 1, 2])
COLUMNS = """
    class_name support frequency group ap ap_low ap_high threshold precision recall f1 f1_low f1_high f1_at_half
    tp fp fn
""".split()  # noqa: SIM905


def draw(seed: int, *, images: int = 120) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scores that know something; the toaster is absent."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, 5)) < [0.5, 0.3, 0.2, 0.1, 0]).astype(np.uint8)
    logits = 2 * targets + rng.standard_normal(targets.shape) - 1
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def judged(seed: int = 0, **options: object) -> Judgement:
    scores, targets = draw(seed)
    settings = {"class_names": NAMES, "global_threshold": 0.35, "class_thresholds_C": OWN, "groups_C": GROUPS}
    return judge(scores, targets, **(settings | {"resamples": 50} | options))


def test_judge__metrics_are_those_of_each_rule_under_its_suffix() -> None:
    scores, targets = draw(0)
    decided = {
        "": by_threshold(scores, 0.5),
        "_global": by_threshold(scores, 0.35),
        "_per_class": by_threshold(scores, OWN),
        "_top3": top_k(scores, 3),
        "_top3_thr": top_k_and_threshold(scores, 3, 0.5),
    }
    assert list(decided) == list(RULES)
    rules = {suffix: decision_metrics(table, targets, groups_C=GROUPS) for suffix, table in decided.items()}
    expected = {name + suffix: value for suffix, found in rules.items() for name, value in found.items()}
    assert len(expected) == 5 * (15 + 2)
    expected |= ranking_metrics(scores, targets) | {
        "f1_micro_tuned": rules["_global"]["of1"],
        "f1_macro_tuned": rules["_per_class"]["f1_macro"],
        "ece": ece(scores, targets),
        "ece_classwise": classwise_ece(scores, targets).mean(),
        "brier": brier(scores, targets),
    }
    assert judged().metrics == pytest.approx(expected, abs=1e-12)


def test_judge__intervals_and_classes_are_the_bootstraps() -> None:
    (scores, targets), found = draw(0), judged(seed=0)
    options = {"class_thresholds_C": OWN, "resamples": 50, "seed": 0}
    assert found.intervals == bootstrap(scores, targets, global_threshold=0.35, **options)
    table = bootstrap_classes(scores, targets, **options)
    np.testing.assert_array_equal(found.per_class[list(table)], table)
    for name, measured in found.intervals.items():
        assert measured.value == pytest.approx(found.metrics[name], abs=1e-12)


def test_judge__columns_mean_what_the_metrics_say() -> None:
    found, (_, targets) = judged(), draw(0)
    table = found.per_class
    assert list(table) == COLUMNS
    assert table["class_name"].tolist() == list(NAMES)
    assert table["group"].tolist() == ["head", "head", "mid", "mid", "tail"]
    assert table["support"].tolist() == targets.sum(axis=0).tolist()
    assert table["frequency"].tolist() == pytest.approx(targets.mean(axis=0))
    assert table["threshold"].tolist() == OWN.tolist()
    for column, metric in {
        "ap": "map", "precision": "cp_per_class", "recall": "cr_per_class", "f1": "f1_macro_per_class",
        "f1_at_half": "f1_macro",
    }.items():  # fmt: skip
        assert table[column].mean() == pytest.approx(found.metrics[metric], abs=1e-12)
        assert table[column].isna().tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(table["tp"] + table["fn"], table["support"])
    assert table.loc[4, "fp"] > 0
    assert found.metrics["f1_head_per_class"] == pytest.approx(table.groupby("group")["f1"].mean()["head"])
    assert "f1_tail" not in found.metrics
    assert found.baselines == constant_baselines(targets)
    assert found.reliability["count"].sum() == targets.size


def test_judge__without_groups() -> None:
    found = judged(groups_C=None)
    assert set(found.per_class["group"]) == {""}
    assert not [name for name in found.metrics if name.startswith(("f1_head", "f1_mid", "f1_tail"))]


def test_judge__fewer_than_three_classes() -> None:
    scores, targets = (table[:, :2] for table in draw(0))
    found = judge(scores, targets, class_names=NAMES[:2], global_threshold=0.5, class_thresholds_C=OWN[:2], resamples=5)
    assert found.metrics["or_top3"] == 1
    assert found.metrics["of1_top3_thr"] == found.metrics["of1"]


def test_judge__shuffled_targets_fall_below_the_constant_baselines() -> None:
    scores, targets = draw(1, images=2000)
    shuffled = np.random.default_rng(0).permutation(targets)
    options = {"class_names": NAMES, "global_threshold": 0.35, "class_thresholds_C": OWN, "resamples": 5}
    found = judge(scores, shuffled, **options)
    assert found.metrics["f1_micro_tuned"] <= found.baselines.best_f1_micro
    assert found.metrics["f1_macro_tuned"] <= found.baselines.best_f1_macro
    assert found.metrics["map"] == pytest.approx(found.baselines.prior_map, abs=0.03)
    assert judge(scores, targets, **options).metrics["f1_micro_tuned"] > found.baselines.best_f1_micro + 0.05


@pytest.mark.parametrize("degenerate", [0, 1], ids=["nothing labelled", "everything labelled"])
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_judgement__json_is_plain_and_free_of_nan(score: float, degenerate: int) -> None:
    scores, targets = np.full((6, 5), score, np.float32), np.full((6, 5), degenerate, np.uint8)
    found = judge(scores, targets, class_names=NAMES, global_threshold=0.5, class_thresholds_C=OWN, resamples=5)
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(data) == [
        "num_images", "global_threshold", "metrics", "intervals", "resamples", "level", "per_class", "baselines",
        "reliability",
    ]  # fmt: skip
    assert data["metrics"] == found.metrics


def test_judgement__json_holds_everything() -> None:
    found = judged()
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert set(data) == {field.name for field in fields(Judgement)}
    assert data["intervals"]["map"] == {
        "value": found.intervals["map"].value, "low": found.intervals["map"].low, "high": found.intervals["map"].high,
    }  # fmt: skip
    assert [list(row) for row in data["per_class"]] == [COLUMNS] * 5
    assert data["per_class"][4]["ap"] is None
    assert data["per_class"][0]["tp"] == found.per_class["tp"][0]
    assert len(data["reliability"]) == 15
    assert data["baselines"]["best_k"] == found.baselines.best_k


def test_judge__names_the_problem() -> None:
    with pytest.raises(ScoringError, match="4 class names"):
        judged(class_names=NAMES[:4])
    with pytest.raises(ScoringError, match="expected one for each"):
        judged(class_thresholds_C=OWN[:4])


def test_docs_metrics__name_every_metric() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    for suffix in RULES:
        assert not suffix or f"`{suffix}`" in text
    plain = {name for name in judged(groups_C=np.array([0, 1, 2, 2, 2])).metrics if not name.endswith(tuple(RULES)[1:])}
    assert {name for name in plain if f"`{name}`" not in text} == set()
