import time
from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics as skm
import torch
import torchmetrics.functional.classification as tmf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.metrics.functional import (
    Counts,
    MetricError,
    confusion,
    decide,
    f1,
    f1_samples,
    precision,
    recall,
    score_report,
    tally,
)

KEYS = """
    map f1_micro f1_macro f1_macro_all f1_samples precision_micro recall_micro precision_macro recall_macro hamming
    subset_accuracy accuracy cf1 of1 cp cr op or num_classes_present
""".split()  # noqa: SIM905


def draw(seed: int, *, images: int = 60, classes: int = 7, levels: int = 0) -> tuple[Tensor, Tensor]:
    """Random scores and targets; the last two classes are absent; levels > 0 makes ties."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(images, classes, generator=generator)
    if levels:
        scores = (scores * levels).round() / levels
    targets = (torch.rand(images, classes, generator=generator) < 0.3).to(torch.uint8)
    targets[:, -2:] = 0
    return scores, targets


def brute_force(scores: np.ndarray, targets: np.ndarray, threshold: float) -> dict[str, float]:
    """Every score by loops over scikit-learn's own functions and definitions."""
    predicted, present = (scores >= threshold).astype(int), targets.any(axis=0)
    p, r, f, _ = skm.precision_recall_fscore_support(targets, predicted, average=None, zero_division=0)
    op, oor, of1, _ = skm.precision_recall_fscore_support(targets, predicted, average="micro", zero_division=0)
    ap = [skm.average_precision_score(targets[:, c], scores[:, c]) for c in np.flatnonzero(present)]

    def mean(values: np.ndarray) -> float:
        return float(np.mean(values)) if len(values) else 0.0

    cp, cr = mean(p[present]), mean(r[present])
    return {
        "map": mean(np.array(ap)),
        "f1_micro": of1,
        "f1_macro": mean(f[present]),
        "f1_macro_all": skm.f1_score(targets, predicted, average="macro", zero_division=0),
        "f1_samples": skm.f1_score(targets, predicted, average="samples", zero_division=1),
        "precision_micro": op,
        "recall_micro": oor,
        "precision_macro": cp,
        "recall_macro": cr,
        "hamming": skm.hamming_loss(targets, predicted),
        "subset_accuracy": skm.accuracy_score(targets, predicted),
        "accuracy": float((targets == predicted).mean()),
        "cf1": 2 * cp * cr / (cp + cr) if cp + cr else 0.0,
        "of1": of1,
        "cp": cp,
        "cr": cr,
        "op": op,
        "or": oor,
        "num_classes_present": float(present.sum()),
    }


@pytest.mark.parametrize("levels", [0, 4], ids=["distinct", "tied"])
@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_score_report__equals_scikit_learn(seed: int, threshold: float, levels: int) -> None:
    scores, targets = draw(seed, levels=levels)
    report = score_report(scores, targets, threshold=threshold)
    assert set(report) == set(KEYS)
    assert report == pytest.approx(brute_force(scores.numpy(), targets.numpy(), threshold), abs=1e-9)


@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize("score", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_score_report__all_or_nothing_equals_scikit_learn(score: float, truth: int) -> None:
    scores, targets = torch.full((5, 3), score), torch.full((5, 3), truth, dtype=torch.uint8)
    report = score_report(scores, targets)
    assert report == pytest.approx(brute_force(scores.numpy(), targets.numpy(), 0.5), abs=1e-9)


def test_score_report__f1_macro_all_is_torchmetrics_and_leaves_absent_classes_at_zero() -> None:
    scores, targets = draw(2)
    report = score_report(scores, targets)
    expected = tmf.multilabel_f1_score(scores, targets, num_labels=7, average="macro").item()
    assert report["f1_macro_all"] == pytest.approx(expected, abs=1e-6)
    assert report["f1_macro"] == pytest.approx(report["f1_macro_all"] * 7 / 5)
    assert report["num_classes_present"] == 5


def test_score_report__false_alarms_of_an_absent_class_count_in_micro_only() -> None:
    scores, targets = draw(3)
    quiet = scores.clone()
    quiet[:, -1] = 0
    loud = quiet.clone()
    loud[:, -1] = 1
    with_alarms, without = score_report(loud, targets), score_report(quiet, targets)
    assert with_alarms["f1_macro"] == without["f1_macro"]
    assert with_alarms["cp"] == without["cp"]
    assert with_alarms["op"] < without["op"]


def test_score_report__perfect_scores_give_one() -> None:
    _, targets = draw(4)
    report = score_report(targets.float(), targets)
    ones = {name: value for name, value in report.items() if name not in ("hamming", "num_classes_present")}
    assert ones == dict.fromkeys(ones, 1.0) | {"f1_macro_all": pytest.approx(5 / 7)}
    assert report["hamming"] == 0


def test_score_report__thresholds_per_class() -> None:
    scores, targets = draw(5)
    thresholds = torch.linspace(0.2, 0.8, 7)
    report = score_report(scores, targets, threshold=thresholds)
    predicted = (scores.numpy() >= thresholds.numpy()).astype(int)
    assert report["f1_micro"] == pytest.approx(skm.f1_score(targets.numpy(), predicted, average="micro"), abs=1e-9)


def test_score_report__groups_and_prefix() -> None:
    scores, targets = draw(6)
    groups = np.array([0, 0, 1, 1, 1, 2, 1])  # the only tail class is absent
    report = score_report(scores, targets, groups_C=groups, prefix="val/")
    per_class = skm.f1_score(targets.numpy(), (scores >= 0.5).numpy(), average=None, zero_division=0)
    assert report["val/f1_head"] == pytest.approx(per_class[:2].mean(), abs=1e-9)
    assert report["val/f1_mid"] == pytest.approx(per_class[2:5].mean(), abs=1e-9)
    assert "val/f1_tail" not in report
    assert set(report) == {f"val/{key}" for key in [*KEYS, "f1_head", "f1_mid"]}


@pytest.mark.parametrize("images", [1, 255, 2039, 2040, 2041, 4081, 5000])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_confusion__whatever_a_byte_holds(images, share):
    generator = torch.Generator().manual_seed(0)
    predicted, truth = (torch.rand(images, 7, generator=generator) < share for _ in range(2))
    for layout in (predicted, predicted.T.contiguous().T):
        counts = confusion(layout, truth)
        assert counts.tp.dtype == torch.int64
        for found, expected in zip(
            counts, (predicted & truth, predicted & ~truth, ~predicted & truth, ~predicted & ~truth), strict=True
        ):
            assert found.tolist() == expected.long().sum(dim=0).tolist()


def test_confusion__equals_scikit_learn() -> None:
    scores, targets = draw(7)
    counts = confusion(scores >= 0.5, targets)
    expected = skm.multilabel_confusion_matrix(targets.numpy(), (scores >= 0.5).numpy())
    for name, (row, column) in {"tn": (0, 0), "fp": (0, 1), "fn": (1, 0), "tp": (1, 1)}.items():
        assert getattr(counts, name).dtype == torch.int64
        np.testing.assert_array_equal(getattr(counts, name).numpy(), expected[:, row, column])


def test_rates__zero_division_is_zero() -> None:
    counts = Counts(
        tp=torch.tensor([0, 0, 0, 2]),
        fp=torch.tensor([0, 3, 0, 1]),
        fn=torch.tensor([0, 0, 3, 2]),
        tn=torch.tensor([5, 2, 2, 0]),
    )
    assert precision(counts).tolist() == [0, 0, 0, 2 / 3]
    assert recall(counts).tolist() == [0, 0, 0, 0.5]
    assert f1(counts).tolist() == [0, 0, 0, 4 / 7]


def test_f1_samples__image_without_labels_and_predictions_is_right() -> None:
    targets = torch.tensor([[0, 0], [0, 0], [1, 0], [1, 1]])
    predicted = torch.tensor([[0, 0], [1, 0], [0, 0], [1, 0]]).bool()
    assert f1_samples(predicted, targets).tolist() == [1.0, 0.0, 0.0, 2 / 3]


def test_decide__score_at_the_threshold_counts_in_float32() -> None:
    scores = torch.tensor([[0.1, 0.7, 0.5]])
    assert decide(scores, torch.tensor([0.1, 0.7, 0.5], dtype=torch.float64)).all()
    assert decide(scores, 0.7).tolist() == [[False, True, False]]


@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_tally__parts_add_up_to_the_whole(cuts: list[int], seed: int) -> None:
    scores, targets = draw(seed, images=40, levels=5)
    predicted, edges = scores >= 0.5, [0, *sorted(cuts), 40]
    parts = [tally(predicted[a:b], targets[a:b]) for a, b in pairwise(edges)]
    whole = tally(predicted, targets)
    for position in range(4):
        assert torch.equal(torch.stack([part.counts[position] for part in parts]).sum(0), whole.counts[position])
    assert sum(int(part.num_exact) for part in parts) == whole.num_exact
    assert sum(int(part.num_images) for part in parts) == 40
    assert sum(float(part.f1_samples_sum) for part in parts) == pytest.approx(float(whole.f1_samples_sum), abs=1e-9)


@pytest.mark.parametrize(
    ("scores", "targets", "problem"),
    [
        (
            torch.tensor([[0.5, 7.25]]),
            torch.zeros(1, 2),
            r"1 scores outside \[0, 1\] \(0\.5\.\.7\.25\): pass",
        ),
        (torch.tensor([[float("nan"), 0.5]]), torch.zeros(1, 2), "1 scores outside"),
        (torch.rand(2, 2).half(), torch.zeros(2, 2), "scores are torch.float16: expected float32"),
        (torch.rand(2, 2), torch.zeros(2, 3), r"scores \(2, 2\) and targets \(2, 3\): expected the same"),
        (torch.rand(4), torch.zeros(4), r"expected the same \[images, classes\]"),
        (torch.rand(0, 2), torch.zeros(0, 2), "nothing to score"),
        (torch.rand(1, 2), torch.tensor([[0, 2]]), "targets must be 0 or 1"),
    ],
    ids=["logits", "nan", "half", "shape", "vector", "empty", "boxes"],
)
def test_score_report__names_the_problem(scores: Tensor, targets: Tensor, problem: str) -> None:
    with pytest.raises(MetricError, match=problem):
        score_report(scores, targets)


def test_score_report__coco_val_times_eight_stays_under_a_second() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(40_000, 80, generator=generator) ** 3
    targets = (torch.rand(40_000, 80, generator=generator) < 0.036).to(torch.uint8)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        score_report(scores, targets)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0
