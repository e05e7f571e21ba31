"""Average precision: how well scores rank images, without a threshold."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def average_precision(scores_N: Tensor, targets_N: Tensor) -> Tensor:
    """Exact average precision of one class; float64 [].

        AP = sum_k (R_k - R_{k-1}) P_k   over the distinct scores s_k in falling order

    with precision P_k and recall R_k of "score >= s_k", as scikit-learn's ``average_precision_score``: no
    interpolation, equal scores are one step. Recall only moves at positives, so this is the mean over the positives of
    the precision at their own score; 0 where there is none.

    Args:
        scores_N: any values that rank, higher first.
        targets_N: 0 or 1.
    """
    return average_precisions(scores_N[:, None], targets_N[:, None])[0]


def average_precisions(scores_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """``average_precision`` of each class, float64 [C]; 0 for a class without a positive.

    Probabilities on the CPU take one integer sort per class (``_of_packed``), anything else two sorts of floats.
    """
    if _can_be_packed(scores_NC):
        return torch.from_numpy(_of_packed(scores_NC.detach().numpy(), targets_NC.bool().numpy()))
    columns_CN = scores_NC.T.contiguous()
    truth_CN = targets_NC.T.bool()
    classes = zip(columns_CN.sort(dim=1).values, columns_CN, truth_CN, strict=True)
    return torch.stack([_precision_at_positives(ranked_N, row_N[truth_N]) for ranked_N, row_N, truth_N in classes])


def mean_average_precision(scores_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """Mean of ``average_precisions`` over the classes with a positive; float64 [], 0 where no class has one."""
    present_C = targets_NC.bool().any(dim=0)
    return (average_precisions(scores_NC, targets_NC) * present_C).sum() / present_C.sum().clamp_min(1)


def _precision_at_positives(ranked_N: Tensor, positives_P: Tensor) -> Tensor:
    """Mean over the positives of (positives >= s) / (scores >= s), s the positive's score."""
    ranked_P = positives_P.sort().values
    tp_P = len(ranked_P) - torch.searchsorted(ranked_P, ranked_P)
    num_predicted_P = len(ranked_N) - torch.searchsorted(ranked_N, ranked_P)
    return (tp_P.double() / num_predicted_P).sum() / max(len(ranked_P), 1)


def _can_be_packed(scores_NC: Tensor) -> bool:
    plain = scores_NC.device.type == "cpu" and scores_NC.dtype == torch.float32 and scores_NC.numel() > 0
    return plain and bool(scores_NC.min() >= 0)  # False with a NaN


def _of_packed(scores_NC: NDArray[np.float32], truth_NC: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision of each class, [C], from scores >= 0.

    The bits of floats >= 0 order like the floats, and the sign bit is free: score and target pack into one number, and
    one integer sort ranks both. Positives come first among equal scores, so that the first positive of a run of equal
    scores stands at its start. 40,000 x 80 scores: 41 ms, where sorting floats twice took 80 (one busy core).
    """
    keys_NC = scores_NC.view(np.uint32) << np.uint32(1)
    keys_NC |= ~truth_NC
    keys_CN = np.sort(np.ascontiguousarray(keys_NC.T), axis=1)
    return np.array([_of_ranked(keys_N) for keys_N in keys_CN])


def _of_ranked(keys_N: NDArray[np.uint32]) -> float:
    rows_P = np.flatnonzero((keys_N & 1) == 0)
    if not len(rows_P):
        return 0.0
    keys_P = keys_N[rows_P]
    starts_P = np.flatnonzero(np.concatenate(([True], keys_P[1:] != keys_P[:-1])))
    sizes_P = np.diff(starts_P, append=len(rows_P))
    tp_P, num_predicted_P = len(rows_P) - starts_P, len(keys_N) - rows_P[starts_P]
    return float((sizes_P * tp_P / num_predicted_P).sum() / len(rows_P))
