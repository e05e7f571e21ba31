"""Precision, recall and F1 as functions of the threshold, from exact counts on a grid.

A class is predicted where float32 score >= float32 threshold. With tp, fp and positives per class and threshold,

    precision = tp / (tp + fp),    recall = tp / positives,    F1 = 2 tp / (tp + fp + positives),

each 0 where its divisor is 0. Micro scores pool the counts of all classes; macro scores are means over the classes with
a positive. Legend: N images, C classes, K thresholds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

GRID = 1000
"""Steps from 0 to 1 of the grid."""


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdCounts:
    """Decisions per class at each threshold; what a slider needs, whatever the number of images.

    Attributes:
        thresholds_K: float32, rising.
        tp_KC: int64, images rightly given the class.
        fp_KC: int64, images wrongly given the class.
        positives_C: int64, images that have the class.
        num_images: N.
    """

    thresholds_K: NDArray[np.float32]
    tp_KC: NDArray[np.int64]
    fp_KC: NDArray[np.int64]
    positives_C: NDArray[np.int64]
    num_images: int


def threshold_counts(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], *, grid: int = GRID) -> ThresholdCounts:
    """Exact counts at the thresholds k / grid, k = 0..grid.

    Args:
        scores_NC: probabilities.
        targets_NC: multi-hot.
        grid: number of steps.
    """
    scores_NC, targets_NC = np.asarray(scores_NC, dtype=np.float32), np.asarray(targets_NC, dtype=bool)
    thresholds_K = (np.arange(grid + 1) / grid).astype(np.float32)
    tp_KC = np.empty((grid + 1, scores_NC.shape[1]), dtype=np.int64)
    fp_KC = np.empty_like(tp_KC)
    for c in range(scores_NC.shape[1]):
        tp_KC[:, c] = _at_least(scores_NC[targets_NC[:, c], c], thresholds_K)
        fp_KC[:, c] = _at_least(scores_NC[~targets_NC[:, c], c], thresholds_K)
    return ThresholdCounts(thresholds_K, tp_KC, fp_KC, targets_NC.sum(axis=0, dtype=np.int64), len(scores_NC))


def counts_at(
    scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], threshold: float | NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and false positives of each class at a threshold, one for all or [C]: tp_C, fp_C.

    Args:
        scores_NC: probabilities.
        targets_NC: multi-hot.
        threshold: rounded to float32, as the scores are.
    """
    predicted_NC = np.asarray(scores_NC, dtype=np.float32) >= np.asarray(threshold, dtype=np.float32)
    tp_C = (predicted_NC & np.asarray(targets_NC, dtype=bool)).sum(axis=0, dtype=np.int64)
    return tp_C, predicted_NC.sum(axis=0, dtype=np.int64) - tp_C


def overall_curves(counts: ThresholdCounts) -> pd.DataFrame:
    """One row per threshold: ``threshold``; ``precision``, ``recall`` and ``f1``, each ``_micro`` and ``_macro``."""
    micro = _scores(counts.tp_KC.sum(axis=1), counts.fp_KC.sum(axis=1), counts.positives_C.sum())
    per_class = _scores(counts.tp_KC, counts.fp_KC, counts.positives_C)
    present_C = counts.positives_C > 0
    columns: dict[str, NDArray[Any]] = {"threshold": counts.thresholds_K}
    for name, values_K in micro.items():
        columns[f"{name}_micro"] = values_K
    for name, values_KC in per_class.items():
        total_K = values_KC[:, present_C].sum(axis=1)
        columns[f"{name}_macro"] = total_K / max(int(present_C.sum()), 1)
    return pd.DataFrame(columns)


def class_curves(counts: ThresholdCounts, class_idx: int) -> pd.DataFrame:
    """One row per threshold for one class: ``threshold``, ``precision``, ``recall``, ``f1``."""
    scores = _scores(counts.tp_KC[:, class_idx], counts.fp_KC[:, class_idx], counts.positives_C[class_idx])
    return pd.DataFrame({"threshold": counts.thresholds_K, **scores})


def pr_curve(scores_N: NDArray[np.floating], targets_N: NDArray[Any], *, points: int = 200) -> pd.DataFrame:
    """Precision against recall at the distinct scores, highest threshold first, from the first that finds a positive.

    Args:
        scores_N: probabilities of one class, or of all classes pooled.
        targets_N: 0 or 1.
        points: most rows to keep, spread evenly over the recall; the first and the last cut are always kept.

    Returns:
        Columns ``threshold``, ``recall``, ``precision``; empty without a positive.
    """
    scores_N, targets_N = np.asarray(scores_N, dtype=np.float32), np.asarray(targets_N, dtype=bool)
    order = np.argsort(-scores_N, kind="stable")
    ranked_N, hits_N = scores_N[order], np.cumsum(targets_N[order])
    positives = int(hits_N[-1]) if len(hits_N) else 0
    if not positives:
        return pd.DataFrame({"threshold": [], "recall": [], "precision": []}, dtype=np.float64)
    last_K = np.flatnonzero(np.append(ranked_N[1:] < ranked_N[:-1], True))
    last_K = last_K[hits_N[last_K] > 0]
    recall_K, precision_K = hits_N[last_K] / positives, hits_N[last_K] / (last_K + 1)
    # The first cut that reaches a recall has the highest precision there; later ones only add false alarms.
    wanted = np.searchsorted(recall_K, np.linspace(recall_K[0], 1.0, max(points - 1, 1)))
    kept = np.unique(np.concatenate([wanted, [0, len(last_K) - 1]]))
    return pd.DataFrame({"threshold": ranked_N[last_K[kept]], "recall": recall_K[kept], "precision": precision_K[kept]})


def _at_least(scores_P: NDArray[np.float32], thresholds_K: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many scores are >= each threshold."""
    return len(scores_P) - np.searchsorted(np.sort(scores_P), thresholds_K, side="left").astype(np.int64)


def _scores(tp: NDArray[np.int64], fp: NDArray[np.int64], positives: Any) -> dict[str, NDArray[np.float64]]:
    return {
        "precision": tp / np.maximum(tp + fp, 1),
        "recall": tp / np.maximum(positives, 1),
        "f1": 2 * tp / np.maximum(tp + fp + positives, 1),
    }
