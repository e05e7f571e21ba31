"""How well scores rank, without a threshold: images within a class, and classes within an image.

Everything is exact, and tied scores are one step: neither their order in memory nor a random choice counts. Any scores
that rank will do, probabilities or logits.

Shapes: N images, C classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.analysis.decision_metrics import Floats, ScoringError, check_pair


def average_precisions(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any]) -> Floats:
    """Average precision of each class, float64 [C]; 0 for a class without a positive.

        AP = sum_k (R_k - R_{k-1}) P_k   over the distinct scores s_k in falling order

    with precision P_k and recall R_k of "score >= s_k": scikit-learn's ``average_precision_score``, without the
    interpolation of PASCAL VOC. Recall only moves at positives, so this is the mean over the positives of the precision
    at their own score.

    Args:
        scores_NC: any finite values that rank, higher first.
        targets_NC: multi-hot.

    Raises:
        ScoringError: shapes differ, nothing to score, targets not 0 or 1, or a score is NaN or infinite.
    """
    _check(scores_NC, targets_NC)
    columns_CN, truth_CN = np.ascontiguousarray(scores_NC.T), np.ascontiguousarray(targets_NC.T).astype(bool)
    return np.array([_average_precision(row_N, truth_N) for row_N, truth_N in zip(columns_CN, truth_CN, strict=True)])


def ranking_metrics(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any]) -> dict[str, float]:
    """Every metric of ranking.

    With y the labels of an image, rank_c = |{k: s_k >= s_c}| over all classes and hits_c the same over the labels:

        LRAP = mean over images of mean_{c in y} hits_c / rank_c
        coverage = mean over images of max_{c in y} rank_c
        ranking loss = mean over images of sum_{c in y} (rank_c - hits_c) / (|y| (C - |y|))

    as scikit-learn's ``label_ranking_average_precision_score``, ``coverage_error`` and ``label_ranking_loss``
    (Tsoumakas et al., Mining Multi-label Data, 2010). An image without labels, or with all, ranks nothing: its LRAP is
    1 and its loss 0; without labels its coverage is 0. ``map_samples``, the sample-wise mAP, is LRAP over the images
    with a label alone.

    Args:
        scores_NC: any finite values that rank, higher first.
        targets_NC: multi-hot.

    Returns:
        ``map`` (mean AP over the classes with a positive), ``map_all`` (over all classes, absent ones 0),
        ``map_samples``, ``lrap`` (higher is better), ``coverage`` (classes, lower is better) and ``ranking_loss``
        (fraction, lower is better). Means over nothing are 0.

    Raises:
        ScoringError: see ``average_precisions``.
    """
    ap_C = average_precisions(scores_NC, targets_NC)
    truth_NC = targets_NC.astype(bool)
    support_C, labelled_N = truth_NC.any(axis=0), truth_NC.any(axis=1)
    lrap_N, coverage_N, loss_N = _per_image(scores_NC, truth_NC)
    return {
        "map": float(ap_C[support_C].mean()) if support_C.any() else 0.0,
        "map_all": float(ap_C.mean()),
        "map_samples": float(lrap_N[labelled_N].mean()) if labelled_N.any() else 0.0,
        "lrap": float(lrap_N.mean()),
        "coverage": float(coverage_N.mean()),
        "ranking_loss": float(loss_N.mean()),
    }


def _average_precision(scores_N: NDArray[np.floating], truth_N: NDArray[np.bool_]) -> float:
    """Mean over the positives of (positives >= s) / (scores >= s), s the positive's score."""
    positives_P, ranked_N = np.sort(scores_N[truth_N]), np.sort(scores_N)
    if not len(positives_P):
        return 0.0
    tp_P = len(positives_P) - np.searchsorted(positives_P, positives_P)
    predicted_P = len(ranked_N) - np.searchsorted(ranked_N, positives_P)
    return float((tp_P / predicted_P).mean())


def _per_image(scores_NC: NDArray[np.floating], truth_NC: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """LRAP, coverage and ranking loss of each image."""
    classes = truth_NC.shape[1]
    order_NC = np.argsort(-scores_NC, axis=1)
    ranked_NC = np.take_along_axis(scores_NC, order_NC, axis=1)
    truth_NC = np.take_along_axis(truth_NC, order_NC, axis=1)
    last_NC = _last_of_ties(ranked_NC)
    rank_NC = last_NC + 1
    hits_NC = np.take_along_axis(truth_NC.cumsum(axis=1), last_NC, axis=1)
    labels_N = truth_NC.sum(axis=1)
    ranks_N = (labels_N > 0) & (labels_N < classes)
    share_N = (truth_NC * hits_NC / rank_NC).sum(axis=1) / np.maximum(labels_N, 1)
    wrong_N = (truth_NC * (rank_NC - hits_NC)).sum(axis=1) / np.maximum(labels_N * (classes - labels_N), 1)
    coverage_N = (truth_NC * rank_NC).max(axis=1).astype(np.float64)
    return np.where(ranks_N, share_N, 1.0), coverage_N, np.where(ranks_N, wrong_N, 0.0)


def _last_of_ties(ranked_NC: NDArray[np.floating]) -> NDArray[np.int64]:
    """Position of the last score equal to the one at each position, in rows of falling scores."""
    classes = ranked_NC.shape[1]
    position_NC = np.full(ranked_NC.shape, classes - 1, dtype=np.int64)
    position_NC[:, :-1] = np.where(ranked_NC[:, :-1] != ranked_NC[:, 1:], np.arange(classes - 1), classes - 1)
    return np.minimum.accumulate(position_NC[:, ::-1], axis=1)[:, ::-1]


def _check(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any]) -> None:
    check_pair(scores_NC, targets_NC)
    if not np.isfinite(scores_NC).all():
        raise ScoringError("a score is NaN or infinite: it has no rank")
