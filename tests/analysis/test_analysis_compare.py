"""Tables of a comparison against pandas and scikit-learn, and what cannot be compared."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as skm

from src.analysis.bootstrap import paired_bootstrap, resample
from src.analysis.comparable import CompareError, check_comparable
from src.analysis.compare import (
    METRICS,
    ScoredRun,
    class_changes,
    curve_table,
    difference_table,
    group_table,
    run_table,
    scored_run,
)
from src.analysis.imbalance import groups
from src.runfolder import Predictions

N, C = 150, 6
NAMES = tuple(f"class {c}" for c in range(C))
GLOBAL, PER_CLASS = 0.4, np.linspace(0.2, 0.6, C)


def predictions(seed: int, *, skill: float = 1.0) -> Predictions:
    truth = np.random.default_rng(0)
    targets_NC = (truth.random((N, C)) < np.linspace(0.5, 0.04, C)).astype(np.uint8)
    rng = np.random.default_rng(seed + 1)
    logits_NC = skill * (2 * targets_NC.astype(int) - 1) + rng.normal(0, 1.2, (N, C))
    scores_NC = (1 / (1 + np.exp(-logits_NC))).astype(np.float32)
    return Predictions(scores_NC, targets_NC, np.arange(N), NAMES)


def scored(name: str, group: str, seed: int, found: Predictions, *, resamples: int = 100) -> ScoredRun:
    resampled = resample(found.scores, found.targets, (GLOBAL, PER_CLASS), resamples=resamples, seed=5, level=0.9)
    return scored_run(name, group, seed, resampled, frequency_groups_C=groups(found.targets.sum(axis=0, dtype=int)))


@pytest.fixture(scope="module")
def runs() -> list[ScoredRun]:
    """Two configurations with three seeds and two."""
    a = [scored(f"a{seed}", "a", seed, predictions(seed)) for seed in range(3)]
    return [*a, *(scored(f"b{seed}", "b", seed, predictions(10 + seed, skill=1.6)) for seed in range(2))]


def test_run_table__equals_scikit_learn(runs: list[ScoredRun]) -> None:
    row, found = run_table(runs).iloc[0], predictions(0)
    truth, scores = found.targets.astype(int), found.scores
    tuned = (scores >= PER_CLASS.astype(np.float32)).astype(int)
    f1_C = skm.f1_score(truth, tuned, average=None, zero_division=0)
    order = np.argsort(-truth.sum(axis=0), kind="stable")
    assert row["map"] == pytest.approx(skm.average_precision_score(truth, scores, average="macro"), abs=1e-9)
    assert row["of1"] == row["f1_micro"] == pytest.approx(skm.f1_score(truth, scores >= 0.5, average="micro"))
    assert row["f1_macro_tuned"] == pytest.approx(f1_C.mean())
    assert row["f1_micro_tuned"] == pytest.approx(skm.f1_score(truth, scores >= np.float32(GLOBAL), average="micro"))
    thirds = [row[f"f1_{name}_tuned"] for name in ("head", "mid", "tail")]
    assert thirds == pytest.approx([f1_C[order[2 * k : 2 * k + 2]].mean() for k in range(3)])


def test_group_table__means_and_sds_by_pandas(runs: list[ScoredRun]) -> None:
    table, single = run_table(runs), group_table(run_table(runs[2:4]))
    found = group_table(table)
    assert list(found["group"]) == ["a", "b"]
    assert list(found["n"]) == [3, 2]
    for metric in METRICS:
        for position, name in enumerate("ab"):
            values = table.loc[table["group"] == name, metric]
            assert found[metric][position] == pytest.approx(values.mean())
            assert found[f"{metric}_sd"][position] == pytest.approx(values.std())
    assert single[[f"{metric}_sd" for metric in METRICS]].isna().all(axis=None)


def test_difference_table__one_run_each_equals_the_paired_bootstrap(runs: list[ScoredRun]) -> None:
    a, b = predictions(0), predictions(10, skill=1.6)
    table = difference_table([runs[0], runs[3]], reference="a", level=0.9).set_index("metric")
    thresholds = (GLOBAL, PER_CLASS)
    expected = paired_bootstrap(
        b.scores, a.scores, a.targets, thresholds_a=thresholds, thresholds_b=thresholds, resamples=100, seed=5,
        level=0.9,
    )  # fmt: skip
    for metric, interval in expected.items():
        row = table.loc[metric]
        assert (row["difference"], row["low"], row["high"]) == pytest.approx(
            (interval.value, interval.low, interval.high)
        )
    assert set(table["covers"]) == {"images"}


def test_difference_table__is_the_difference_of_the_means(runs: list[ScoredRun]) -> None:
    means = group_table(run_table(runs)).set_index("group")
    forth = difference_table(runs, reference="a").set_index("metric")
    back = difference_table(runs, reference="b").set_index("metric")
    for metric in METRICS:
        assert forth.loc[metric, "difference"] == pytest.approx(means.loc["b", metric] - means.loc["a", metric])
        assert forth.loc[metric, "difference"] == pytest.approx(-back.loc[metric, "difference"])
        assert forth.loc[metric, "low"] < forth.loc[metric, "difference"] < forth.loc[metric, "high"]
    assert (forth["df"] == 3).all()
    assert (forth["covers"] == "images and seeds").all()
    assert forth.loc["map", "clear"]  # skill 1.6 against 1


def test_difference_table__one_group_has_none(runs: list[ScoredRun]) -> None:
    assert len(difference_table(runs[:3], reference="a")) == 0
    assert "clear" in difference_table(runs[:3], reference="a").columns


def test_class_changes__by_hand_and_largest_gain_first(runs: list[ScoredRun]) -> None:
    positives_C = predictions(0).targets.sum(axis=0, dtype=np.int64)
    table = class_changes(runs, reference="a", class_names=NAMES, positives_C=positives_C)
    assert len(table) == 2 * C
    assert table["difference"].is_monotonic_decreasing
    for metric, score in (("ap", skm.average_precision_score), ("f1", None)):
        for c, name in enumerate(NAMES):
            row = table[(table["metric"] == metric) & (table["class_name"] == name)].iloc[0]
            own = [
                score(found.targets[:, c], found.scores[:, c])
                if score
                else skm.f1_score(found.targets[:, c], found.scores[:, c] >= np.float32(PER_CLASS[c]))
                for found in (*(predictions(s) for s in range(3)), *(predictions(10 + s, skill=1.6) for s in range(2)))
            ]
            assert (row["before"], row["after"]) == pytest.approx((np.mean(own[:3]), np.mean(own[3:])))
            assert row["positives"] == positives_C[c]


def test_class_changes__a_handful_of_positives_is_never_clear() -> None:
    """Always right against always wrong: certain with many images, unknown with three."""
    targets_NC = np.zeros((40, 2), dtype=np.uint8)
    targets_NC[:20, 0], targets_NC[:3, 1] = 1, 1
    good = Predictions(targets_NC * np.float32(0.8) + np.float32(0.1), targets_NC, np.arange(40), ("many", "few"))
    bad = replace(good, scores=np.float32(1) - good.scores)
    thresholds = (0.5, np.full(2, 0.5))
    pair = [
        scored_run(
            name, name, 0, resample(found.scores, targets_NC, thresholds, resamples=100, seed=0, level=0.9),
            frequency_groups_C=np.array([0, 2]),
        )
        for name, found in (("bad", bad), ("good", good))
    ]  # fmt: skip
    table = class_changes(pair, reference="bad", class_names=good.class_names, positives_C=np.array([20, 3]))
    clear = table.set_index(["class_name", "metric"])["clear"]
    assert clear["many"].all()
    assert not clear["few"].any()


def test_curve_table__long_form() -> None:
    records = {"x": [{"epoch": 0, "lr": 1.0, "holdout/map": 0.1}, {"epoch": 1, "holdout/map": 0.2}]}
    found = curve_table(records, {"x": "g"})
    expected = pd.DataFrame(
        [("x", "g", 1, "holdout/map", 0.1), ("x", "g", 2, "holdout/map", 0.2)],
        columns=["run", "group", "epoch", "metric", "value"],
    )
    pd.testing.assert_frame_equal(found, expected)


def test_check_comparable__names_what_differs() -> None:
    first = predictions(0)
    check_comparable({"a": first, "b": predictions(1)}, split="val")
    fewer = Predictions(first.scores[5:], first.targets[5:], first.image_ids[5:], NAMES)
    with pytest.raises(CompareError, match=r"b: scores 145 images of val, a 150, and they share 145"):
        check_comparable({"a": first, "b": fewer}, split="val")
    with pytest.raises(CompareError, match="the holdout depends on the seed; split=val"):
        check_comparable({"a": first, "b": fewer}, split="holdout")
    with pytest.raises(CompareError, match="6 classes that differ in class 5, dog from the 6 of a"):
        check_comparable({"a": first, "b": replace(first, class_names=(*NAMES[:5], "dog"))}, split="val")
    with pytest.raises(CompareError, match="stand in another order"):
        check_comparable({"a": first, "b": replace(first, class_names=NAMES[::-1])}, split="val")
    other = first.targets.copy()
    other[7, 2] ^= 1
    with pytest.raises(CompareError, match="b: 1 targets differ from those of a, first class 2 of image 7"):
        check_comparable({"a": first, "b": replace(first, targets=other)}, split="val")
    with pytest.raises(CompareError, match=r"runs: 1 found, a comparison needs two or more \(a\)"):
        check_comparable({"a": first}, split="val")
