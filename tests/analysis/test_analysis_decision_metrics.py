import numpy as np
import pytest
import sklearn.metrics as skm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from src.analysis.decision_metrics import ScoringError, class_counts, decision_metrics, f1, precision, recall
from src.metrics.functional import decide, score_report

KEYS = """
    op or of1 f1_micro cp cr cf1 f1_macro f1_macro_all f1_samples precision_samples recall_samples hamming
    subset_accuracy accuracy
""".split()  # noqa: SIM905
Table = NDArray[np.bool_]


def draw(seed: int, *, images: int = 60, classes: int = 7, rate: float = 0.3) -> tuple[Table, Table]:
    """Random decisions and targets; the last two classes are absent, the last is never decided either."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, classes)) < rate
    targets[:, -2:] = False
    decided = targets ^ (rng.random((images, classes)) < 0.2)
    decided[:, -1] = False
    return decided, targets


@st.composite
def tables(st_draw: st.DrawFn) -> tuple[Table, Table]:
    shape = (st_draw(st.integers(1, 6)), st_draw(st.integers(2, 4)))
    return st_draw(arrays(bool, shape)), st_draw(arrays(bool, shape))


def mean(values: NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def harmonic(p: float, r: float) -> float:
    return 2 * p * r / (p + r) if p + r else 0.0


def reference(decided: Table, targets: Table) -> dict[str, float]:
    """Every metric by scikit-learn, with our choice of classes and of the images without labels and decisions."""
    present, nothing = targets.any(axis=0), ~(targets.any(axis=1) | decided.any(axis=1))

    def prf(average: str | None) -> tuple:
        return skm.precision_recall_fscore_support(targets, decided, average=average, zero_division=0)[:3]

    p, r, f = prf(None)
    op, or_, of1 = prf("micro")
    samples = [np.append(values, np.ones(nothing.sum())) for values in _per_image(decided, targets)]
    cp, cr = mean(p[present]), mean(r[present])
    return {
        "op": op, "or": or_, "of1": of1, "f1_micro": of1,
        "cp": cp, "cr": cr, "cf1": harmonic(cp, cr),
        "f1_macro": mean(f[present]), "f1_macro_all": prf("macro")[2],
        "precision_samples": mean(samples[0]), "recall_samples": mean(samples[1]), "f1_samples": mean(samples[2]),
        "hamming": float((decided != targets).mean()),
        "accuracy": float((decided == targets).mean()),
        "subset_accuracy": float((decided == targets).all(axis=1).mean()),
    }  # fmt: skip


def _per_image(decided: Table, targets: Table) -> tuple[list[float], list[float], list[float]]:
    """Precision, recall and F1 of the images with a label or a decision, as sets of classes."""
    sets = [(set(np.flatnonzero(d)), set(np.flatnonzero(t))) for d, t in zip(decided, targets, strict=True)]
    pairs = [(len(d & t) / max(len(d), 1), len(d & t) / max(len(t), 1)) for d, t in sets if d | t]
    return [p for p, _ in pairs], [r for _, r in pairs], [harmonic(p, r) for p, r in pairs]


@pytest.mark.parametrize("seed", range(4))
def test_decision_metrics__equal_scikit_learn(seed: int) -> None:
    decided, targets = draw(seed, rate=0.1 * (seed + 1))
    found = decision_metrics(decided, targets)
    assert sorted(found) == sorted(KEYS)
    assert found == pytest.approx(reference(decided, targets), abs=1e-9)


@given(tables())
@settings(max_examples=25, deadline=None)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_decision_metrics__equal_scikit_learn_in_every_corner(pair: tuple[Table, Table]) -> None:
    assert decision_metrics(*pair) == pytest.approx(reference(*pair), abs=1e-9)


def test_decision_metrics__sample_means_are_scikit_learns_where_no_image_is_empty() -> None:
    decided, targets = draw(1)
    targets[:, 0] = decided[:, 1] = True
    expected = skm.precision_recall_fscore_support(targets, decided, average="samples", zero_division=0)
    found = decision_metrics(decided, targets)
    names = ("precision_samples", "recall_samples", "f1_samples")
    assert [found[name] for name in names] == pytest.approx(list(expected[:3]), abs=1e-9)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_decision_metrics__agree_with_the_torch_twin_on_every_shared_name(threshold: float) -> None:
    rng = np.random.default_rng(3)
    scores, (_, targets) = rng.random((60, 7), dtype=np.float32).round(1), draw(3)
    groups = np.array([0, 0, 1, 1, 1, 2, 1])
    tensors = torch.from_numpy(scores), torch.from_numpy(targets.astype(np.uint8))
    twin = score_report(*tensors, groups_C=groups, threshold=threshold)
    found = decision_metrics(decide(tensors[0], threshold).numpy(), targets, groups_C=groups)
    shared = twin.keys() & found.keys()
    assert set(KEYS) - shared == {"precision_samples", "recall_samples"}
    assert {"f1_head", "f1_mid"} <= shared
    assert "f1_tail" not in found
    assert {name: found[name] for name in shared} == pytest.approx({name: twin[name] for name in shared}, abs=1e-12)


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_decision_metrics__order_and_repetition_of_images_change_nothing(
    pair: tuple[Table, Table], random: st.DataObject
) -> None:
    decided, targets = pair
    order = list(range(len(targets)))
    random.shuffle(order)
    found = decision_metrics(decided, targets)
    assert decision_metrics(decided[order], targets[order]) == pytest.approx(found, abs=1e-12)
    twice = np.concatenate([decided, decided]), np.concatenate([targets, targets])
    assert decision_metrics(*twice) == pytest.approx(found, abs=1e-12)


def test_class_counts__equal_scikit_learn() -> None:
    decided, targets = draw(0)
    counts = class_counts(decided.astype(np.uint8), targets.astype(np.float32))
    expected = skm.multilabel_confusion_matrix(targets, decided)
    for name, (row, column) in {"tn": (0, 0), "fp": (0, 1), "fn": (1, 0), "tp": (1, 1)}.items():
        assert getattr(counts, name).dtype == np.int64
        np.testing.assert_array_equal(getattr(counts, name), expected[:, row, column])
    rates = skm.precision_recall_fscore_support(targets, decided, average=None, zero_division=0)
    for found, values in zip((precision(counts), recall(counts), f1(counts)), rates[:3], strict=True):
        np.testing.assert_allclose(found, values, atol=1e-12)


# The formulas of peers, written from their published definitions, where they differ from ours.


def ml_gcn(decided: Table, targets: Table) -> dict[str, float]:
    """ML-GCN (Chen et al., CVPR 2019) and heirs: a class never given counts as given once; all classes."""
    hits, given, true = (decided & targets).sum(0), decided.sum(0), targets.sum(0)
    given = np.where(given == 0, 1, given)
    op, or_ = hits.sum() / given.sum(), hits.sum() / true.sum()
    cp, cr = (hits / given).mean(), (hits / true).mean()
    return {"op": op, "or": or_, "of1": harmonic(op, or_), "cp": cp, "cr": cr, "cf1": harmonic(cp, cr)}


def asl(decided: Table, targets: Table) -> dict[str, float]:
    """ASL (Ridnik et al., ICCV 2021), validation script: CF1 is the mean of the classes' F1, over all classes."""
    hits, given, true = (decided & targets).sum(0), decided.sum(0), targets.sum(0)
    p, r = np.where(hits > 0, hits / np.maximum(given, 1), 0), np.where(hits > 0, hits / np.maximum(true, 1), 0)
    f = np.where(hits > 0, 2 * p * r / np.where(hits > 0, p + r, 1), 0)
    return {"cp": p.mean(), "cr": r.mean(), "cf1": f.mean()}


def test_decision_metrics__equal_ml_gcn_where_every_class_is_present_and_given() -> None:
    decided, targets = (table[:, :5] for table in draw(0))
    found = decision_metrics(decided, targets)
    assert {name: found[name] for name in ml_gcn(decided, targets)} == pytest.approx(
        ml_gcn(decided, targets), abs=1e-12
    )


def test_decision_metrics__ml_gcn_counts_a_class_never_given_as_one_false_alarm() -> None:
    decided, targets = (table[:, :5].copy() for table in draw(0))
    decided[:, 4] = False
    ours, theirs = decision_metrics(decided, targets), ml_gcn(decided, targets)
    assert theirs["op"] == pytest.approx(ours["op"] * decided.sum() / (decided.sum() + 1))
    assert {name: ours[name] for name in ("or", "cp", "cr", "cf1")} == pytest.approx(
        {name: theirs[name] for name in ("or", "cp", "cr", "cf1")}
    )


def test_decision_metrics__ml_gcn_has_no_recall_of_an_absent_class() -> None:
    decided, targets = draw(0)
    with np.errstate(invalid="ignore"):
        assert np.isnan(ml_gcn(decided, targets)["cr"])
    assert decision_metrics(decided, targets)["cr"] > 0


def test_decision_metrics__asl_calls_cf1_what_is_f1_macro_all_here() -> None:
    decided, targets = draw(2)
    ours, theirs = decision_metrics(decided, targets), asl(decided, targets)
    assert theirs["cf1"] == pytest.approx(ours["f1_macro_all"], abs=1e-12)
    assert theirs["cp"] == pytest.approx(ours["cp"] * 5 / 7, abs=1e-12)
    assert theirs["cr"] == pytest.approx(ours["cr"] * 5 / 7, abs=1e-12)
    assert ours["cf1"] > ours["f1_macro"] > ours["f1_macro_all"]


@pytest.mark.parametrize(
    ("decided", "targets", "problem"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), r"scores \(2, 3\) and targets \(2, 2\)"),
        (np.zeros(3), np.zeros(3), r"expected the same \[N, C\]"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "nothing to score"),
        (np.zeros((1, 2)), np.array([[0, 2]]), "targets must be 0 or 1"),
        (np.array([[0.2, 0.9]]), np.zeros((1, 2)), "apply a threshold"),
    ],
    ids=["shape", "vector", "empty", "targets", "scores"],
)
def test_decision_metrics__names_the_problem(decided: NDArray, targets: NDArray, problem: str) -> None:
    with pytest.raises(ScoringError, match=problem):
        decision_metrics(decided, targets)
