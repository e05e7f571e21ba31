"""Class tables, constant baselines and label findings, against scikit-learn and by hand."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score

from src.analysis.imbalance import class_table, constant_baselines, groups, summarize
from src.analysis.labels import conditional, cooccurrence, label_health

NAMES = ("person", "dog", "cat", "toaster")
TARGETS = np.array(
    [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]],
    dtype=np.uint8,
)


@st.composite
def multi_hot(draw: st.DrawFn) -> NDArray[np.uint8]:
    shape = (draw(st.integers(1, 30)), draw(st.integers(1, 6)))
    return draw(arrays(np.uint8, shape, elements=st.integers(0, 1)))


def test_class_table__by_hand() -> None:
    table = class_table(TARGETS, NAMES)
    assert table.columns.tolist() == ["class_name", "count", "frequency", "neg_pos", "group"]
    assert table["class_name"].tolist() == list(NAMES)
    assert table["count"].tolist() == [4, 2, 1, 0]
    assert table["frequency"].tolist() == [0.8, 0.4, 0.2, 0.0]
    assert table["neg_pos"].tolist() == [0.25, 1.5, 4.0, np.inf]
    assert table["group"].tolist() == ["head", "head", "mid", "tail"]


def test_class_table__more_than_255_positives_do_not_wrap() -> None:
    assert class_table(np.ones((1000, 1), np.uint8), ["x"])["count"].tolist() == [1000]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40))
def test_groups__are_thirds_in_order_of_count(counts: list[int]) -> None:
    found = groups(np.array(counts, dtype=np.uint8))
    sizes = np.bincount(found, minlength=3)
    assert sizes.sum() == len(counts)
    assert sizes.max() - sizes.min() <= 1
    for better, worse in itertools.pairwise(range(3)):
        if sizes[worse]:
            assert np.array(counts)[found == better].min() >= np.array(counts)[found == worse].max()


@settings(deadline=None)
@given(multi_hot())
def test_constant_baselines__micro_f1_is_best_of_all_subsets(targets: NDArray[np.uint8]) -> None:
    classes = targets.shape[1]
    scores = {
        subset: f1_score(targets.ravel(), np.tile(subset, len(targets)), zero_division=0)
        for subset in itertools.product((0, 1), repeat=classes)
    }
    baselines = constant_baselines(targets)
    assert baselines.best_f1_micro == pytest.approx(max(scores.values()))
    best = np.argsort(-targets.sum(axis=0, dtype=int), kind="stable")[: baselines.best_k]
    assert scores[tuple(np.isin(np.arange(classes), best).astype(int))] == pytest.approx(baselines.best_f1_micro)
    alone = np.arange(classes) == baselines.most_frequent_class
    assert scores[tuple(alone.astype(int))] == pytest.approx(baselines.most_frequent_f1_micro)


@settings(deadline=None)
@given(multi_hot())
def test_constant_baselines__macro_f1_and_prior_map_equal_scikit_learn(targets: NDArray[np.uint8]) -> None:
    present = np.flatnonzero(targets.any(axis=0))
    baselines = constant_baselines(targets)
    constant = np.ones(len(targets))
    f1 = [f1_score(targets[:, c], constant) for c in present]
    ap = [average_precision_score(targets[:, c], constant) for c in present]
    assert baselines.best_f1_macro == pytest.approx(np.mean(f1) if f1 else 0)
    assert baselines.prior_map == pytest.approx(np.mean(ap) if ap else 0)
    assert baselines.all_negative_accuracy == pytest.approx((targets == 0).mean())


def test_summarize__by_hand() -> None:
    summary = summarize(TARGETS, NAMES)
    assert (summary.images, summary.classes, summary.empty_images) == (5, 4, 1)
    assert (summary.labels_mean, summary.labels_min, summary.labels_max) == (1.4, 0, 2)
    assert summary.imbalance_ratio == 4
    assert summary.neg_pos == pytest.approx(13 / 7)
    assert summary.absent_classes == ("toaster",)
    assert summary.baselines == constant_baselines(TARGETS)


def test_summarize__without_positives() -> None:
    summary = summarize(np.zeros((3, 2), np.uint8), ("a", "b"))
    assert np.isnan(summary.imbalance_ratio)
    assert summary.neg_pos == np.inf
    assert summary.absent_classes == ("a", "b")
    assert (summary.baselines.best_f1_micro, summary.baselines.prior_map) == (0, 0)
    assert summary.baselines.all_negative_accuracy == 1


@given(multi_hot())
def test_cooccurrence__equals_counting(targets: NDArray[np.uint8]) -> None:
    counts = cooccurrence(targets)
    assert counts.dtype == np.int64
    for i, j in itertools.product(range(targets.shape[1]), repeat=2):
        assert counts[i, j] == (targets[:, i] & targets[:, j]).sum()


def test_conditional__row_is_given() -> None:
    shares = conditional(cooccurrence(TARGETS))
    assert shares[0].tolist() == [1.0, 0.5, 0.25, 0.0]
    assert shares[1].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert np.isnan(shares[3]).all()


def test_label_health__sound_labels_give_no_finding() -> None:
    targets = (np.random.default_rng(0).random((500, 4)) < 0.5).astype(np.uint8)
    targets[~targets.any(axis=1), 0] = 1
    assert label_health(targets, NAMES) == {}


def test_label_health__each_finding_names_its_classes() -> None:
    targets = (np.random.default_rng(0).random((100, 8)) < 0.5).astype(np.uint8)
    names = ["plain", "gone", "few", "nine", "ten", "everywhere", "left", "right"]
    targets[:, [1, 2, 3, 4]] = 0
    targets[:3, 2] = targets[:9, 3] = targets[:10, 4] = 1
    targets[:, 5] = 1
    targets[:, 7] = targets[:, 6]
    assert label_health(targets, names) == {
        "absent": "no image has gone",
        "rare": "fewer than 10 images have few, nine",
        "universal": "every image has everywhere",
        "twins": "always together: left and right",
    }


def test_label_health__empty_and_uniform_images() -> None:
    targets = np.zeros((40, 9), np.uint8)
    targets[:25, 8] = targets[:25, 1] = 1
    targets[25:39, 1] = 1
    findings = label_health(targets, list("abcdefghi"))
    assert findings["empty"] == "1 of 40 images (2.5%) have no class"
    assert findings["uniform"] == "25 of 40 images have the same classes: b, i"
    assert label_health(np.zeros((4, 2), np.uint8), "ab")["uniform"] == "4 of 4 images have the same classes: none"


def test_analysis__imports_no_torch() -> None:
    import subprocess

    code = "import sys, src.analysis.imbalance, src.analysis.labels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
