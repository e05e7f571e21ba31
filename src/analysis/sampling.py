"""What a sampler does to the class counts of an epoch. N images, C classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.imbalance import GROUP_NAMES, groups


@dataclass(frozen=True, slots=True)
class SamplingSummary:
    """An epoch beside the data set it is drawn from.

    Attributes:
        images: number of images.
        visits: images visited in an epoch, repeats counted.
        imbalance_before: images of the most over the least frequent class that is not absent; nan if all are.
        imbalance_after: the same of the expected counts.
        neg_pos_before: negatives per positive over the whole table; inf without positives.
        neg_pos_after: the same of an epoch.
        labels_before: classes per image, mean.
        labels_after: classes per visit, mean.
        most_visits: largest expected visits of one image in an epoch.
        left_out: images that an epoch does not visit, mean.
    """

    images: int
    visits: int
    imbalance_before: float
    imbalance_after: float
    neg_pos_before: float
    neg_pos_after: float
    labels_before: float
    labels_after: float
    most_visits: float
    left_out: float


def expected_counts(targets_NC: NDArray[np.uint8], draws_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Visits in an epoch of images with each class, mean, float64 [C].

        m_c = sum over images i with c of d_i

    Args:
        targets_NC: multi-hot.
        draws_N: mean visits of each image in an epoch.
    """
    counts_C: NDArray[np.float64] = draws_N @ targets_NC
    return counts_C


def sampling_table(
    targets_NC: NDArray[np.uint8], draws_N: NDArray[np.float64], class_names: Sequence[str]
) -> pd.DataFrame:
    """One row per class, in class order.

    Args:
        targets_NC: multi-hot.
        draws_N: mean visits of each image in an epoch.
        class_names: the C names.

    Returns:
        Columns ``class_name``, ``count`` (images), ``expected_count`` (visits in an epoch, mean), ``factor`` (visits
        per image of the class, nan for an absent class), ``group`` (head, mid or tail by ``count``).
    """
    counts_C = targets_NC.sum(axis=0, dtype=np.int64)
    expected_C = expected_counts(targets_NC, draws_N)
    factor_C = np.full(len(counts_C), np.nan)
    np.divide(expected_C, counts_C, out=factor_C, where=counts_C > 0)
    return pd.DataFrame(
        {
            "class_name": list(class_names),
            "count": counts_C,
            "expected_count": expected_C,
            "factor": factor_C,
            "group": [GROUP_NAMES[group] for group in groups(counts_C)],
        }
    )


def summarize_sampling(targets_NC: NDArray[np.uint8], draws_N: NDArray[np.float64]) -> SamplingSummary:
    """Imbalance before and after sampling.

    ``left_out`` holds for samplers that round each image's mean visits down or up: the mean of a number of visits
    below one is the probability of a visit, so that an epoch leaves out sum over i of max(0, 1 - d_i) images.

    Args:
        targets_NC: multi-hot, at least one image and one class.
        draws_N: mean visits of each image in an epoch.
    """
    images, classes = targets_NC.shape
    counts_C, expected_C = targets_NC.sum(axis=0, dtype=np.float64), expected_counts(targets_NC, draws_N)
    visits = float(draws_N.sum())
    return SamplingSummary(
        images=images,
        visits=round(visits),
        imbalance_before=_imbalance(counts_C),
        imbalance_after=_imbalance(expected_C),
        neg_pos_before=_neg_pos(counts_C.sum(), images * classes),
        neg_pos_after=_neg_pos(expected_C.sum(), visits * classes),
        labels_before=float(counts_C.sum() / images),
        labels_after=float(expected_C.sum() / visits),
        most_visits=float(draws_N.max()),
        left_out=float(np.maximum(0, 1 - draws_N).sum()),
    )


def _imbalance(counts_C: NDArray[np.float64]) -> float:
    present = counts_C[counts_C > 0]
    return float(present.max() / present.min()) if len(present) else float("nan")


def _neg_pos(positives: float, labels: float) -> float:
    return float((labels - positives) / positives) if positives else float("inf")
