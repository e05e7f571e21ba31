import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from src.analysis.decisions import by_threshold, count_decisions, f1_macro, f1_micro
from src.analysis.imbalance import constant_baselines
from src.analysis.threshold_search import (
    F1,
    KINDS,
    Objective,
    best_global_threshold,
    best_threshold,
    best_threshold_per_class,
)
from src.analysis.thresholds import DEFAULT_SHRINK, ThresholdError, Thresholds, fit_thresholds, optimism
from src.config.schema.errors import ConfigError

NAMES = ("person", "car", "hair drier")


def f1_at(threshold: float, scores: NDArray[np.float32], targets: NDArray[np.bool_]) -> float:
    predicted = scores >= np.float32(threshold)
    total = predicted.sum() + targets.sum()
    return 2 * (predicted & targets).sum() / total if total else 0.0


score = st.one_of(st.integers(0, 6).map(lambda level: level / 6), st.floats(0, 1, width=32))
tables = st.lists(st.tuples(*[score] * 3, *[st.booleans()] * 3), min_size=1, max_size=12)


@given(rows=tables, shrink=st.sampled_from([0.0, 3.0, float("inf")]), average=st.sampled_from(["micro", "macro"]))
@settings(max_examples=100, deadline=None)
def test_fit_thresholds__classes_shrink_to_the_global_one_by_support(
    rows: list[tuple[float, float, float, bool, bool, bool]], shrink: float, average: str
) -> None:
    scores = np.array([row[:3] for row in rows], dtype=np.float32)
    targets = np.array([row[3:] for row in rows], dtype=bool)
    fitted = fit_thresholds(scores, targets, class_names=NAMES, shrink=shrink, average=average)
    assert fitted.global_ == best_global_threshold(scores, targets, F1, average=average).threshold
    assert fitted.shrink == shrink
    for c, threshold in enumerate(fitted.per_class):
        own, _ = best_threshold(scores[:, c], targets[:, c], F1)
        support = targets[:, c].sum()
        weight = support / (support + shrink) if support else 0.0
        assert threshold == pytest.approx(weight * own + (1 - weight) * fitted.global_, abs=1e-6)
        assert shrink != 0 or not support or threshold == own
        assert shrink != float("inf") or threshold == fitted.global_


def test_fit_thresholds__absent_class_takes_the_global_threshold() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random((30, 3), dtype=np.float32), rng.random((30, 3)) < 0.4
    targets[:, 2] = False
    fitted = fit_thresholds(scores, targets, class_names=NAMES, shrink=0)
    assert fitted.per_class[2] == fitted.global_
    assert fitted.global_ != 0.5


@pytest.mark.parametrize("images", [0, 4])
def test_fit_thresholds__nothing_to_fit_is_one_half(images: int) -> None:
    fitted = fit_thresholds(np.full((images, 3), 0.25), np.zeros((images, 3)), class_names=NAMES)
    assert fitted.global_ == 0.5
    assert fitted.per_class.tolist() == [0.5, 0.5, 0.5]
    assert fitted.num_images == images


def test_fit_thresholds__shrinking_helps_a_rare_class_on_fresh_images() -> None:
    """80 noisy classes of 5 positives each: the mean held-out F1 of shrunk thresholds beats the classes' own optima."""
    rng = np.random.default_rng(0)

    def draw(images: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        targets = rng.random((images, 80)) < 0.02
        logits = 2.0 * targets + rng.standard_normal(targets.shape) - 2
        return (1 / (1 + np.exp(-logits))).astype(np.float32), targets

    names = [str(c) for c in range(80)]
    (scores, targets), (fresh_scores, fresh_targets) = draw(250), draw(4000)

    def held_out(shrink: float) -> float:
        per_class = fit_thresholds(scores, targets, class_names=names, shrink=shrink).per_class
        columns = zip(per_class, fresh_scores.T, fresh_targets.T, strict=True)
        return float(np.mean([f1_at(*column) for column in columns]))

    assert held_out(10.0) > held_out(0.0) + 0.01


@pytest.mark.parametrize(
    ("scores", "targets", "names", "problem"),
    [
        (np.array([[0.1, 3.5]]), np.zeros((1, 2)), "ab", r"scores outside \[0, 1\]: .* not logits"),
        (np.array([[0.1, np.nan]]), np.zeros((1, 2)), "ab", "scores outside"),
        (np.zeros((2, 2)), np.zeros((2, 3)), "ab", r"scores \(2, 2\) and targets \(2, 3\)"),
        (np.zeros(4), np.zeros(4), "abcd", r"expected the same \[N, C\]"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "aa", "1 different class names for 2 classes"),
    ],
    ids=["logits", "nan", "shape", "vector", "names"],
)
def test_fit_thresholds__names_the_problem(
    scores: NDArray[np.float64], targets: NDArray[np.float64], names: str, problem: str
) -> None:
    with pytest.raises(ThresholdError, match=problem):
        fit_thresholds(scores, targets, class_names=list(names))


def test_fit_thresholds__says_what_it_did() -> None:
    rng = np.random.default_rng(0)
    scores, targets = rng.random((60, 3), dtype=np.float32), rng.random((60, 3)) < 0.4
    fixed = fit_thresholds(scores, targets, class_names=NAMES, shrink=5)
    assert fixed.objective == "global: micro-F1; per_class: F1, shrunk to the global by n/(n+5)"
    none = fit_thresholds(scores, targets, class_names=NAMES, shrink=float("inf"), objective=Objective(beta=2))
    assert none.objective == "global: micro-F2; per_class: the global"
    chosen = fit_thresholds(scores, targets, class_names=NAMES, objective=Objective(kind="precision_at_recall"))
    assert chosen.objective.startswith("global: micro-precision at recall >= 0.9; per_class: ")
    assert chosen.objective.endswith(", chosen by cross-validation")
    assert chosen.shrink is not None
    again = fit_thresholds(scores, targets, class_names=NAMES, objective=chosen.search, shrink=chosen.shrink)
    assert again.per_class.tolist() == chosen.per_class.tolist()


def test_fit_thresholds__names_the_classes_whose_target_is_out_of_reach() -> None:
    scores = np.array([[0.9, 0.9, 0.1], [0.8, 0.1, 0.1], [0.1, 0.2, 0.1]])
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    wanted = Objective(kind="recall_at_precision", target=0.9)
    fitted = fit_thresholds(scores, targets, class_names=NAMES, objective=wanted, shrink=0)
    assert fitted.unreached == ("car",)  # an absent class is not out of reach
    assert not fitted.global_reached
    easier = fit_thresholds(scores, targets, class_names=NAMES, objective=Objective("recall_at_precision", target=0.3))
    assert (easier.unreached, easier.global_reached) == ((), True)


@pytest.mark.parametrize(
    ("objective", "average"), list(product([Objective(kind=kind) for kind in KINDS], ["micro", "macro"]))
)
def test_fit_thresholds__every_objective_and_average(objective: Objective, average: str) -> None:
    rng = np.random.default_rng(2)
    scores, targets = rng.random((80, 3), dtype=np.float32), rng.random((80, 3)) < 0.4
    fitted = fit_thresholds(scores, targets, class_names=NAMES, objective=objective, average=average, shrink=0)
    assert fitted.global_ == best_global_threshold(scores, targets, objective, average=average).threshold
    assert fitted.per_class.tolist() == best_threshold_per_class(scores, targets, objective)[0].tolist()
    again = Thresholds.from_json(json.loads(json.dumps(fitted.to_json())))
    assert (again.search, again.average) == (objective, average)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"average": "weighted"}, r"thresholds\.average=weighted: must be one of micro, macro"),
        ({"shrink": -1.0}, r"thresholds\.shrink=-1\.0: must be >= 0"),
        ({"folds": 1}, r"thresholds\.folds=1: must be at least 2"),
    ],
    ids=["average", "shrink", "folds"],
)
def test_fit_thresholds__names_the_option(options: dict, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        fit_thresholds(np.zeros((4, 3)), np.zeros((4, 3)), class_names=NAMES, **options)


def draw(images: int, *, signal: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores of a model that knows the frequencies of ten classes and sees ``signal``."""
    rng = np.random.default_rng(seed)
    frequency = np.geomspace(0.5, 0.03, 10)
    targets = rng.random((images, 10)) < frequency
    spread = max(signal, 0.1)
    logits = np.log(frequency / (1 - frequency)) + signal * 3 * (targets - frequency)
    return (1 / (1 + np.exp(-logits - spread * rng.standard_normal(targets.shape)))).astype(np.float32), targets


def tuned_elsewhere(scores: NDArray[np.float32], targets: NDArray[np.bool_]) -> tuple[float, float]:
    """Micro- and macro-F1 of the second half at thresholds of the first."""
    half = len(scores) // 2
    fitted = fit_thresholds(scores[:half], targets[:half], class_names="abcdefghij")
    scores, targets = scores[half:], targets[half:]
    decided = {
        mode: count_decisions(by_threshold(scores, fitted.at(mode)), targets) for mode in ("global", "per_class")
    }
    return f1_micro(decided["global"]), f1_macro(decided["per_class"])


@pytest.mark.parametrize("seed", range(3))
def test_fit_thresholds__shuffled_targets_fall_to_the_constant_baseline(seed: int) -> None:
    """A model that learned from shuffled targets knows the frequencies; one that learned well is shuffled itself."""
    _, targets = draw(4000, signal=0.0, seed=seed)
    baselines = constant_baselines(targets[2000:].astype(np.uint8))
    blind_micro, blind_macro = tuned_elsewhere(*draw(4000, signal=0.0, seed=seed))
    assert blind_micro == pytest.approx(baselines.best_f1_micro, abs=0.02)
    assert blind_macro == pytest.approx(baselines.best_f1_macro, abs=0.02)
    scores, targets = draw(4000, signal=1.0, seed=seed)
    micro, macro = tuned_elsewhere(scores, targets)
    assert micro > baselines.best_f1_micro + 0.2
    assert macro > baselines.best_f1_macro + 0.2
    micro, macro = tuned_elsewhere(scores, np.random.default_rng(seed).permutation(targets))
    assert micro < baselines.best_f1_micro + 0.02
    assert macro == pytest.approx(baselines.best_f1_macro, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_optimism__is_what_fitting_on_the_scored_images_adds(seed: int) -> None:
    scores, targets = draw(600, signal=0.6, seed=seed)
    fitted = fit_thresholds(scores[:200], targets[:200], class_names="abcdefghij", shrink=0.0)
    scores, targets = scores[200:], targets[200:]
    found = optimism(scores, targets, fitted)
    assert list(found) == ["f1_micro_fit_here", "f1_micro_optimism", "f1_macro_fit_here", "f1_macro_optimism"]
    here = best_global_threshold(scores, targets, F1).value
    assert found["f1_micro_fit_here"] == pytest.approx(here, abs=1e-12)
    elsewhere = f1_at(fitted.global_, scores.ravel(), targets.ravel())
    assert found["f1_micro_optimism"] == pytest.approx(here - elsewhere, abs=1e-12)
    assert found["f1_micro_optimism"] >= 0
    own = np.mean(best_threshold_per_class(scores, targets, F1)[1])
    assert found["f1_macro_fit_here"] == pytest.approx(own, abs=1e-12)
    columns = zip(fitted.per_class, scores.T, targets.T, strict=True)
    assert found["f1_macro_optimism"] == pytest.approx(own - np.mean([f1_at(*column) for column in columns]), abs=1e-12)
    assert found["f1_macro_optimism"] > 0


@pytest.mark.parametrize(
    "options", [{}, {"objective": Objective(beta=3)}, {"average": "macro", "shrink": 30.0}], ids=str
)
def test_optimism__is_zero_on_the_images_fitted_on(options: dict) -> None:
    """Fitted in the very same way, whatever it was."""
    scores, targets = draw(300, signal=0.6, seed=0)
    found = optimism(scores, targets, fit_thresholds(scores, targets, class_names="abcdefghij", **options))
    assert (found["f1_micro_optimism"], found["f1_macro_optimism"]) == (0.0, 0.0)


def fitted_example() -> Thresholds:
    rng = np.random.default_rng(1)
    return fit_thresholds(rng.random((40, 3)), rng.random((40, 3)) < 0.3, class_names=NAMES, fitted_on="train")


def test_thresholds__json_round_trip_is_exact() -> None:
    fitted = fitted_example()
    data = json.loads(json.dumps(fitted.to_json(), allow_nan=False))
    assert list(data)[:5] == ["global", "per_class", "fitted_on", "objective", "num_images"]
    assert list(data)[5:] == ["search", "average", "shrink", "cross_validated", "bags", "unreached", "global_reached"]
    assert data["fitted_on"] == "train"
    assert "micro-F1" in data["objective"]
    again = Thresholds.from_json(data)
    assert again.to_json() == fitted.to_json()
    np.testing.assert_array_equal(again.per_class.astype(np.float32), fitted.per_class)


def test_thresholds__from_json_follows_the_order_of_the_model() -> None:
    fitted = fitted_example()
    again = Thresholds.from_json(fitted.to_json(), class_names=NAMES[::-1])
    assert again.class_names == NAMES[::-1]
    assert again.per_class.tolist() == fitted.per_class[::-1].tolist()


@pytest.mark.parametrize(
    ("change", "names", "problem"),
    [
        ({}, ("person", "car", "dog"), "differ in the classes dog, hair drier"),
        ({"global": 1.5}, None, r"outside \[0, 1\]"),
        ({"per_class": dict.fromkeys(NAMES, -0.1)}, None, r"outside \[0, 1\]"),
        ({"global": None}, None, "lack global"),
        ({"search": {"gamma": 2}}, None, "thresholds' search .*gamma.*fit them again"),
    ],
    ids=["classes", "global", "per class", "missing", "search"],
)
def test_thresholds__from_json_names_the_problem(change: dict, names: tuple[str, ...] | None, problem: str) -> None:
    data = {key: value for key, value in (fitted_example().to_json() | change).items() if value is not None}
    with pytest.raises(ThresholdError, match=problem):
        Thresholds.from_json(data, class_names=names)


OLD_FILE = {
    "global": 0.25,
    "per_class": {"person": 0.5, "car": 0.25, "hair drier": 0.125},
    "fitted_on": "holdout",
    "objective": "global: micro-F1; per_class: F1, shrunk to the global by n/(n+10)",
    "num_images": 2000,
}


def test_thresholds__from_json_reads_files_without_the_newer_keys() -> None:
    old = Thresholds.from_json(OLD_FILE, class_names=NAMES)
    assert (old.search, old.average, old.shrink, old.unreached, old.global_reached) == (F1, "micro", None, (), True)
    assert "shrink" not in old.to_json()
    assert Thresholds.from_json(old.to_json()).shrink is None
    rng = np.random.default_rng(0)
    scores, targets = rng.random((40, 3)), rng.random((40, 3)) < 0.3
    same = fit_thresholds(scores, targets, class_names=NAMES, shrink=DEFAULT_SHRINK)
    found = optimism(scores, targets, old)["f1_macro_fit_here"]
    assert found == f1_macro(count_decisions(by_threshold(scores, same.per_class), targets))


def test_thresholds__infinite_shrink_is_null_in_json() -> None:
    fitted = fit_thresholds(np.zeros((2, 3)), np.zeros((2, 3)), class_names=NAMES, shrink=float("inf"))
    data = fitted.to_json()
    assert data["shrink"] is None
    assert Thresholds.from_json(json.loads(json.dumps(data, allow_nan=False))).shrink == float("inf")


def test_thresholds__at_gives_a_threshold_for_each_class() -> None:
    fitted = Thresholds.from_json(OLD_FILE)
    assert fitted.at("global").tolist() == [0.25, 0.25, 0.25]
    assert fitted.at("per_class").tolist() == [0.5, 0.25, 0.125]
    with pytest.raises(ConfigError, match=r"thresholds=per-class: .* did you mean thresholds=per_class"):
        fitted.at("per-class")
