"""Metrics of decisions: which classes an image was given against which it has. No scores, no thresholds.

    OP = sum_c TP_c / sum_c (TP_c + FP_c)      OR = sum_c TP_c / sum_c (TP_c + FN_c)      OF1 = 2 OP OR / (OP + OR)
    CP = mean_c TP_c / (TP_c + FP_c)           CR = mean_c TP_c / (TP_c + FN_c)           CF1 = 2 CP CR / (CP + CR)

CNN-RNN (Wang et al., CVPR 2016) named them; CF1 is a harmonic mean of means and not the mean of the classes' F1, which
is ``f1_macro``. The conventions are those of ``src.metrics.functional``, which scores while training: 0 / 0 is 0; means
over classes run over the classes with a positive ("support"), only ``f1_macro_all`` over all of them with absent ones
at 0; an image without labels that is given none is right (1). ``docs/metrics.md`` says what peers do instead.

Shapes: N images, C classes.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from src.analysis.imbalance import GROUP_NAMES
from src.config.schema.errors import UserError

Floats: TypeAlias = NDArray[np.float64]


class ScoringError(UserError):
    """What was passed cannot be scored."""


class Counts(NamedTuple):
    """Decisions per class, each int64 [C]."""

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    tn: NDArray[np.int64]


def check_pair(values_NC: NDArray[Any], targets_NC: NDArray[Any]) -> None:
    """Check that targets are multi-hot and belong to the values.

    Raises:
        ScoringError: shapes differ, there is nothing to score, or targets are not 0 or 1.
    """
    if values_NC.ndim != 2 or values_NC.shape != targets_NC.shape:
        raise ScoringError(f"scores {values_NC.shape} and targets {targets_NC.shape}: expected the same [N, C]")
    if not values_NC.size:
        raise ScoringError(f"scores {values_NC.shape}: nothing to score")
    if not _is_binary(targets_NC):
        raise ScoringError("targets must be 0 or 1: an image has a class or has it not")


def check_probabilities(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any]) -> None:
    """Check like ``check_pair``, and that scores are probabilities.

    Raises:
        ScoringError: see ``check_pair``; or a score is NaN or outside [0, 1].
    """
    check_pair(scores_NC, targets_NC)
    if not (scores_NC.min() >= 0 and scores_NC.max() <= 1):
        raise ScoringError("scores outside [0, 1]: pass probabilities, sigmoid(logits), not logits")


def class_counts(decided_NC: NDArray[Any], targets_NC: NDArray[Any]) -> Counts:
    """Count decisions per class.

    Args:
        decided_NC: classes given to each image, boolean.
        targets_NC: multi-hot.

    Raises:
        ScoringError: see ``check_pair``; or the decisions are not 0 or 1.
    """
    decided_NC, truth_NC = _checked(decided_NC, targets_NC)
    return _class_counts(decided_NC, truth_NC)


def precision(counts: Counts) -> Floats:
    """TP / (TP + FP), [C]; 0 for a class that is never given."""
    return _fraction(counts.tp, counts.tp + counts.fp)


def recall(counts: Counts) -> Floats:
    """TP / (TP + FN), [C]; 0 for an absent class."""
    return _fraction(counts.tp, counts.tp + counts.fn)


def f1(counts: Counts) -> Floats:
    """2 TP / (2 TP + FP + FN), [C]; 0 for an absent class."""
    return _fraction(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def decision_metrics(
    decided_NC: NDArray[Any], targets_NC: NDArray[Any], *, groups_C: NDArray[np.integer[Any]] | None = None
) -> dict[str, float]:
    """Every metric of decisions, each under its name in the literature.

    Args:
        decided_NC: classes given to each image, boolean.
        targets_NC: multi-hot.
        groups_C: 0 head, 1 mid, 2 tail per class; adds ``f1_head``, ``f1_mid``, ``f1_tail``, the mean F1 of the group's
            classes with support. A group without any has no key.

    Returns:
        ``op``, ``or``, ``of1``, ``f1_micro`` (the same as ``of1``), ``cp``, ``cr``, ``cf1``, ``f1_macro``,
        ``f1_macro_all``, ``precision_samples``, ``recall_samples``, ``f1_samples``, ``hamming`` (share of wrong
        decisions, lower is better), ``accuracy`` (1 - hamming), ``subset_accuracy`` (images with every decision right).

    Raises:
        ScoringError: see ``class_counts``.
    """
    decided_NC, truth_NC = _checked(decided_NC, targets_NC)
    counts = _class_counts(decided_NC, truth_NC)
    found = _overall(counts) | _per_class(counts) | _per_image(decided_NC, truth_NC)
    if groups_C is not None:
        support_C = counts.tp + counts.fn > 0
        members = {name: (groups_C == group) & support_C for group, name in enumerate(GROUP_NAMES)}
        found |= {f"f1_{name}": _mean(f1(counts), chosen_C) for name, chosen_C in members.items() if chosen_C.any()}
    return found


def harmonic(first: float, second: float) -> float:
    """Harmonic mean of a precision and a recall; 0 where both are."""
    return 2 * first * second / (first + second) if first + second else 0.0


def _overall(counts: Counts) -> dict[str, float]:
    total = Counts(*(count_C.sum(keepdims=True) for count_C in counts))
    wrong, decisions = int(total.fp[0] + total.fn[0]), int(sum(count[0] for count in total))
    of1 = float(f1(total)[0])
    return {
        "op": float(precision(total)[0]),
        "or": float(recall(total)[0]),
        "of1": of1,
        "f1_micro": of1,
        "hamming": wrong / decisions,
        "accuracy": (decisions - wrong) / decisions,
    }


def _per_class(counts: Counts) -> dict[str, float]:
    support_C = counts.tp + counts.fn > 0
    cp, cr = _mean(precision(counts), support_C), _mean(recall(counts), support_C)
    return {
        "cp": cp,
        "cr": cr,
        "cf1": harmonic(cp, cr),
        "f1_macro": _mean(f1(counts), support_C),
        "f1_macro_all": float(f1(counts).mean()),
    }


def _per_image(decided_NC: NDArray[np.bool_], truth_NC: NDArray[np.bool_]) -> dict[str, float]:
    tp_N = (decided_NC & truth_NC).sum(axis=1)
    decided_N, true_N = decided_NC.sum(axis=1), truth_NC.sum(axis=1)
    nothing_N = decided_N + true_N == 0
    return {
        "precision_samples": float(np.where(nothing_N, 1.0, _fraction(tp_N, decided_N)).mean()),
        "recall_samples": float(np.where(nothing_N, 1.0, _fraction(tp_N, true_N)).mean()),
        "f1_samples": float(np.where(nothing_N, 1.0, _fraction(2 * tp_N, decided_N + true_N)).mean()),
        "subset_accuracy": float(((tp_N == decided_N) & (tp_N == true_N)).mean()),
    }


def _class_counts(decided_NC: NDArray[np.bool_], truth_NC: NDArray[np.bool_]) -> Counts:
    tp_C = (decided_NC & truth_NC).sum(axis=0, dtype=np.int64)
    decided_C, true_C = decided_NC.sum(axis=0, dtype=np.int64), truth_NC.sum(axis=0, dtype=np.int64)
    return Counts(tp_C, decided_C - tp_C, true_C - tp_C, len(truth_NC) - decided_C - true_C + tp_C)


def _checked(decided_NC: NDArray[Any], targets_NC: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    check_pair(decided_NC, targets_NC)
    if not _is_binary(decided_NC):
        raise ScoringError("decisions must be 0 or 1: apply a threshold to scores first")
    return decided_NC.astype(bool), targets_NC.astype(bool)


def _is_binary(values: NDArray[Any]) -> bool:
    return values.dtype == bool or bool(((values == 0) | (values == 1)).all())


def _fraction(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
    """Part / whole of counts; 0 / 0 is 0, since a part is 0 where its whole is."""
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)


def _mean(values_C: Floats, chosen_C: NDArray[np.bool_]) -> float:
    return float(values_C[chosen_C].mean()) if chosen_C.any() else 0.0
