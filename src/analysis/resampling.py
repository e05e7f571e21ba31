"""Drawing images with replacement, and scores of a draw from how often each image was drawn.

Weighted counts equal those of the drawn images one by one, and so do the scores made of them.

Shapes: N images, C classes, R resamples; of one class P positives, M images down to its last positive, K distinct
scores of positives.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.analysis.decision_metrics import Floats

CHUNK = 1 << 20
"""Weights held at a time, 4 MB of them: a few rows stay in the processor's cache."""


def draw_weights(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.int32]]:
    """How often each image is drawn, a few rows [R, N] at a time; the first row of all is the sample itself."""
    rng = np.random.default_rng(seed)
    yield np.ones((1, images), dtype=np.int32)
    rows = max(1, CHUNK // images)
    for start in range(0, resamples, rows):
        draws = (rng.integers(images, size=images) for _ in range(min(rows, resamples - start)))
        yield np.stack([np.bincount(draw, minlength=images) for draw in draws]).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Counts of one rule of decision per resample and class, each [R, C]."""

    tp: Floats
    decided: Floats
    positives: Floats

    def f1(self) -> Floats:
        """2 TP / (decided + positives), [R, C]."""
        return fraction(2 * self.tp, self.decided + self.positives)

    def f1_micro(self) -> Floats:
        """The same of all classes pooled, [R]."""
        return fraction(2 * self.tp.sum(axis=1), self.decided.sum(axis=1) + self.positives.sum(axis=1))

    def cf1(self, present_RC: NDArray[np.bool_]) -> Floats:
        """Harmonic mean of mean precision and mean recall of the classes with a positive, [R]."""
        cp_R = mean_over(fraction(self.tp, self.decided), present_RC)
        cr_R = mean_over(fraction(self.tp, self.positives), present_RC)
        return fraction(2 * cp_R * cr_R, cp_R + cr_R)


class Ranking:
    """A class's images in falling order of score, cut after each distinct score of a positive."""

    def __init__(self, scores_N: NDArray[np.floating[Any]], truth_N: NDArray[np.bool_]) -> None:
        order_N: NDArray[np.intp] = np.argsort(-scores_N, kind="stable")
        ranked_N, positive_N = scores_N[order_N], truth_N[order_N]
        cuts_K, first_K = np.unique(-ranked_N[positive_N], return_index=True)
        end_K: NDArray[np.intp] = np.asarray(np.searchsorted(-ranked_N, cuts_K, side="right"))
        self.positives_P = order_N[positive_N]
        self.predicted_M = order_N[: end_K[-1]] if len(end_K) else order_N[:0]
        self.first_positive_K = first_K
        self.first_predicted_K = np.concatenate([[0], end_K[:-1]]).astype(np.intp)

    def average_precision(self, weights_RN: NDArray[np.int32]) -> Floats:
        """sum_k (TP_k - TP_{k-1}) TP_k / predicted_k / TP_K, all counts weighted, [R]; 0 without a positive."""
        # Along rows of int32, take and reduceat cost 1.2 + 0.6 ns per weight; a float32 cumsum alone takes 4 ns, and
        # the same along columns of resamples 2 to 14 ns (numpy 2.4, one core).
        if not len(self.positives_P):
            return np.zeros(len(weights_RN))
        step_RK = np.add.reduceat(np.take(weights_RN, self.positives_P, axis=1), self.first_positive_K, axis=1)
        predicted_RK = np.add.reduceat(np.take(weights_RN, self.predicted_M, axis=1), self.first_predicted_K, axis=1)
        tp_RK: NDArray[np.int64] = step_RK.cumsum(axis=1)
        precision_RK = tp_RK / np.maximum(predicted_RK.cumsum(axis=1), 1)
        return fraction((step_RK * precision_RK).sum(axis=1), tp_RK[:, -1].astype(np.float64))


def mean_over(values_RC: Floats, chosen_RC: NDArray[np.bool_]) -> Floats:
    """Mean over the chosen classes, [R]; 0 where none is."""
    return fraction((values_RC * chosen_RC).sum(axis=1), chosen_RC.sum(axis=1).astype(np.float64))


def fraction(part: Floats, whole: Floats) -> Floats:
    """Part / whole; 0 where the whole is 0."""
    quotient: Floats = np.zeros(np.broadcast_shapes(part.shape, whole.shape))
    np.divide(part, whole, out=quotient, where=whole > 0)
    return quotient
