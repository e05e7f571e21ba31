"""From scores to decisions: which classes an image is said to have.

Shapes: N images, C classes. Thresholds compare in float32, as they are fitted.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.config.schema.errors import UserError

Decisions = NDArray[np.bool_]
_BYTE = 255


class DecisionError(UserError):
    """Scores cannot be decided this way."""


class DecisionCounts(NamedTuple):
    """Per class, int64 [C]."""

    tp: NDArray[np.int64]
    predicted: NDArray[np.int64]
    positives: NDArray[np.int64]


def by_threshold(scores_NC: NDArray[np.floating], threshold: float | NDArray[np.floating]) -> Decisions:
    """Classes whose score >= threshold, bool [N, C].

    Args:
        scores_NC: probabilities.
        threshold: one for all classes, or one for each, [C].
    """
    return np.asarray(scores_NC, dtype=np.float32) >= np.asarray(threshold, dtype=np.float32)


def top_k(scores_NC: NDArray[np.floating], k: int) -> Decisions:
    """The k classes of highest score, exactly k in every image, bool [N, C].

    Of equal scores the class that comes first in class order is taken.

    Args:
        scores_NC: any values that rank, no nan.
        k: 0 to C.

    Raises:
        DecisionError: k lies outside 0 to C.
    """
    scores_NC = np.asarray(scores_NC)
    num_classes = scores_NC.shape[1]
    if not 0 <= k <= num_classes:
        raise DecisionError(f"top-k with k={k}: must lie in 0 to {num_classes}, the number of classes")
    if k == 0:
        return np.zeros(scores_NC.shape, dtype=bool)
    last_N1 = np.partition(scores_NC, num_classes - k, axis=1)[:, num_classes - k, None]
    above_NC, tied_NC = scores_NC > last_N1, scores_NC == last_N1
    room_N1 = k - above_NC.sum(axis=1, keepdims=True)
    decisions_NC: Decisions = above_NC | (tied_NC & (tied_NC.cumsum(axis=1) <= room_N1))
    return decisions_NC


def top_k_and_threshold(scores_NC: NDArray[np.floating], k: int, threshold: float | NDArray[np.floating]) -> Decisions:
    """Those of the k highest classes that also reach the threshold: at most k in an image, bool [N, C].

    Args:
        scores_NC: probabilities.
        k: 0 to C.
        threshold: one for all classes, or one for each, [C].

    Raises:
        DecisionError: k lies outside 0 to C.
    """
    return top_k(scores_NC, k) & by_threshold(scores_NC, threshold)


def count_decisions(decisions_NC: Decisions, targets_NC: NDArray[Any]) -> DecisionCounts:
    """Decisions of each class that are right, that are positive, and positives there are."""
    targets_NC = np.asarray(targets_NC, dtype=bool)
    tables = (decisions_NC & targets_NC, decisions_NC, targets_NC)
    return DecisionCounts(*map(count_per_class, tables))


def count_per_class(table_NC: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many images are true of each class, int64 [C].

    Rows are added as bytes, eight side by side and no more than a byte holds: 0.2 ms for 40,000 x 80, where
    ``np.count_nonzero`` takes 1.9.
    """
    num_classes, blocks = table_NC.shape[1], len(table_NC) // (8 * _BYTE)
    whole = blocks * 8 * _BYTE
    bytes_K = np.ascontiguousarray(table_NC[:whole]).view(np.uint8).reshape(blocks, _BYTE, 8 * num_classes)
    sums_KC = np.add.reduce(bytes_K, axis=1, dtype=np.uint8).reshape(8 * blocks, num_classes)
    counts_C: NDArray[np.int64] = sums_KC.sum(axis=0, dtype=np.int64) + np.count_nonzero(table_NC[whole:], axis=0)
    return counts_C


def f1_micro(counts: DecisionCounts) -> float:
    """2 TP / (predicted + positives) of all classes pooled; 0 where both are 0."""
    tp, predicted, positives = (int(counts_C.sum()) for counts_C in counts)
    return 2 * tp / max(predicted + positives, 1)


def f1_macro(counts: DecisionCounts) -> float:
    """Mean F1 of the classes with a positive; 0 where no class has one."""
    return fbeta_macro(counts, beta=1.0)


def fbeta_macro(counts: DecisionCounts, *, beta: float) -> float:
    """Mean over the classes with a positive of (1 + beta^2) TP / (beta^2 positives + predicted)."""
    present_C = counts.positives > 0
    if not present_C.any():
        return 0.0
    tp, predicted, positives = (counts_C[present_C] for counts_C in counts)
    return float(np.mean((1 + beta**2) * tp / (beta**2 * positives + predicted)))
