"""Standard error of a headline score over images, without resampling.

The infinitesimal jackknife (Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, ch. 6): with U_i the
derivative of the score by the weight of image i, at equal weights,

    SE = sqrt(sum_i U_i^2)

which is the limit of the bootstrap's standard deviation for many images. The derivatives of F1 and of average precision
are closed forms, so that 40,000 x 80 scores take a few counts per class instead of a hundred rankings (mAP: 0.03 s
against 2.1 s on one core). With few images, and classes of a handful of positives, resampling is the better answer.

Shapes: N images, C classes; of one class P positives.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.analysis.bootstrap import resample
from src.analysis.decision_metrics import Floats
from src.analysis.decisions import by_threshold

MANY_IMAGES = 10_000
HALF = 0.5
RESAMPLES = 100

Thresholds = tuple[float, Floats]


def standard_error(
    scores_NC: NDArray[np.float32], targets_NC: NDArray[Any], thresholds: Thresholds, *, objective: str
) -> float:
    """Standard error of ``objective``: by 100 resamples, from 10,000 images on by the infinitesimal jackknife.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: multi-hot.
        thresholds: global and per class, for the tuned scores.
        objective: a key of ``bootstrap.Resampled.headline``.
    """
    if len(scores_NC) < MANY_IMAGES:
        found = resample(scores_NC, targets_NC, thresholds, resamples=RESAMPLES, seed=0, level=0.95)
        return float(found.headline[objective][1:].std())
    return jackknife_error(scores_NC, targets_NC, thresholds, objective=objective)


def jackknife_error(
    scores_NC: NDArray[np.float32], targets_NC: NDArray[Any], thresholds: Thresholds, *, objective: str
) -> float:
    """The formula above.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: multi-hot.
        thresholds: global and per class, for the tuned scores.
        objective: a key of ``bootstrap.Resampled.headline``.

    Raises:
        KeyError: another objective.
    """
    truth_NC = np.asarray(targets_NC, dtype=bool)
    if objective == "map":
        slopes_N = _map_slopes(scores_NC, truth_NC)
    else:
        tuned: dict[str, float | Floats] = {"f1_micro_tuned": thresholds[0], "f1_macro_tuned": thresholds[1]}
        slopes_N = _SLOPES[objective](by_threshold(scores_NC, tuned.get(objective, HALF)), truth_NC)
    return float(np.sqrt((slopes_N**2).sum()))


def average_precision_slopes(levels_N: NDArray[np.int64], truth_N: NDArray[np.bool_]) -> Floats:
    """Derivative of one class's average precision by the weight of each image, [N]; 0 without a positive.

        AP = 1/P sum_{i in positives} TP(s_i) / M(s_i)
        dAP/dw_j = 1/P (y_j (TP(s_j) / M(s_j) + A(s_j) - AP) - B(s_j))
        A(s) = sum_{i in positives, s_i <= s} 1 / M(s_i),   B(s) = sum_{the same} TP(s_i) / M(s_i)^2

    with TP(s) positives and M(s) images of score s or higher. Counted level by level, so that nothing is sorted.

    Args:
        levels_N: scores of the class as small whole numbers that rank, none negative.
        truth_N: which images have it.
    """
    rows_P = np.flatnonzero(truth_N)
    levels_P = levels_N[rows_P]
    positives_L, images_L = np.bincount(levels_P), np.bincount(levels_N)
    taken_K = np.flatnonzero(positives_L)
    if not len(taken_K):
        return np.zeros(len(levels_N))
    positives_K = positives_L[taken_K]
    tp_K, images_K = (part_L[::-1].cumsum()[::-1][taken_K] for part_L in (positives_L, images_L))
    precision_K = tp_K / images_K
    a_K, b_K = np.cumsum(positives_K / images_K), np.cumsum(positives_K * precision_K / images_K)
    total = int(tp_K[0])
    mean = float(positives_K @ precision_K) / total
    # Of every level, that of the highest positive at or below it: the sums only move there.
    slopes_N: Floats = _filled(taken_K, b_K / -total, len(images_L)).take(levels_N)
    slopes_N[rows_P] += _filled(taken_K, (precision_K + a_K - mean) / total, len(images_L)).take(levels_P)
    return slopes_N


def _filled(starts_K: NDArray[np.intp], values_K: Floats, count: int) -> Floats:
    """Each value from its start up to the next, 0 before the first, [count]."""
    return np.repeat(np.append(0.0, values_K), np.diff(np.concatenate([[0], starts_K, [count]])))


def _levels(scores_NC: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Scores in [0, 1] to one part in 256, as whole numbers from 0 up to 32,512 at most, class by class, [C, N].

    The bits of floats >= 0 order like the floats; the upper 17 hold a sign of 0, exponent and eight digits. A standard
    error moves by less than a thousandth of itself. Each class is counted from its lowest score on: scores seldom span
    more than a dozen powers of two, and what is done level by level takes an eighth of the time.
    """
    bits_NC = np.ascontiguousarray(scores_NC, dtype=np.float32).view(np.uint32) >> np.uint32(15)
    bits_CN = np.ascontiguousarray(bits_NC.astype(np.uint16).T)
    bits_CN -= bits_CN.min(axis=1, keepdims=True)
    return bits_CN


def _map_slopes(scores_NC: NDArray[np.float32], truth_NC: NDArray[np.bool_]) -> Floats:
    total_N = np.zeros(len(scores_NC))
    for levels_N, truth_N in zip(_levels(scores_NC), np.ascontiguousarray(truth_NC.T), strict=True):
        total_N += average_precision_slopes(levels_N.astype(np.int64), truth_N)
    return total_N / max(int(truth_NC.any(axis=0).sum()), 1)


def _micro_slopes(decided_NC: NDArray[np.bool_], truth_NC: NDArray[np.bool_]) -> Floats:
    """F = 2 TP / M with M = decided + positives: dF/dw_i = (2 tp_i - F m_i) / M."""
    hits_N = np.count_nonzero(decided_NC & truth_NC, axis=1)
    both_N = np.count_nonzero(decided_NC, axis=1) + np.count_nonzero(truth_NC, axis=1)
    total = max(int(both_N.sum()), 1)
    slopes_N: Floats = (2 * hits_N - 2 * hits_N.sum() / total * both_N) / total
    return slopes_N


def _macro_slopes(decided_NC: NDArray[np.bool_], truth_NC: NDArray[np.bool_]) -> Floats:
    """Mean over the classes with a positive of the same per class."""
    hits_NC = decided_NC & truth_NC
    tp_C, decided_C, positives_C = (np.count_nonzero(part, axis=0) for part in (hits_NC, decided_NC, truth_NC))
    total_C = np.maximum(decided_C + positives_C, 1)
    weight_C = (positives_C > 0) / max(int((positives_C > 0).sum()), 1) / total_C
    f1_C = 2 * tp_C / total_C
    slopes_N: Floats = hits_NC @ (2 * weight_C) - decided_NC @ (f1_C * weight_C) - truth_NC @ (f1_C * weight_C)
    return slopes_N


def _cf1_slopes(decided_NC: NDArray[np.bool_], truth_NC: NDArray[np.bool_]) -> Floats:
    """CF1 = 2 CP CR / (CP + CR), by the chain rule through the classes' precisions and recalls."""
    hits_NC = decided_NC & truth_NC
    tp_C, decided_C, positives_C = (np.count_nonzero(part, axis=0) for part in (hits_NC, decided_NC, truth_NC))
    present_C = (positives_C > 0) / max(int((positives_C > 0).sum()), 1)
    cp, cr = (float((tp_C / np.maximum(whole_C, 1)) @ present_C) for whole_C in (decided_C, positives_C))
    if cp + cr == 0:
        return np.zeros(len(truth_NC))
    slopes_N = np.zeros(len(truth_NC))
    for other, whole_C, part_NC in ((cr, decided_C, decided_NC), (cp, positives_C, truth_NC)):
        weight_C = 2 * other**2 / (cp + cr) ** 2 * present_C / np.maximum(whole_C, 1)
        slopes_N += hits_NC @ weight_C - part_NC @ (weight_C * tp_C / np.maximum(whole_C, 1))
    return slopes_N


_SLOPES = {
    "f1_micro": _micro_slopes,
    "of1": _micro_slopes,
    "f1_micro_tuned": _micro_slopes,
    "f1_macro": _macro_slopes,
    "f1_macro_tuned": _macro_slopes,
    "cf1": _cf1_slopes,
}
