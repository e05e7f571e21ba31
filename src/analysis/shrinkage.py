"""Thresholds of rare classes, drawn towards the global one, and how strongly.

    t_c = w_c t*_c + (1 - w_c) t_global,   w_c = n_c / (n_c + shrink)

with n_c positives of class c and t*_c its own optimum: a handful of positives does not place a threshold. ``shrink``
is the number of positives at which the own optimum weighs one half; 0 leaves every class its own, infinity gives all
of them the global one. A class without a positive takes the global one.

Shapes: N images, C classes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.analysis.decisions import DecisionCounts, by_threshold, count_decisions, count_per_class, fbeta_macro
from src.analysis.threshold_search import Objective, best_global_threshold, best_threshold_per_class

STRENGTHS = (0.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, float("inf"))
_TIE = 1e-12


class Fit(NamedTuple):
    """Optima of one set of images, before shrinking."""

    global_: float
    own_C: NDArray[np.float64]
    positives_C: NDArray[np.int64]
    global_reached: bool
    """Whether some cut meets the objective's target."""
    reached_C: NDArray[np.bool_]
    """The same for each class; False without a positive, unless the objective is F-beta."""

    def shrunk(self, strength: float) -> NDArray[np.float64]:
        """One threshold for each class, [C], float32 numbers."""
        return shrunk(self.own_C, self.global_, self.positives_C, strength)


def fit(scores_NC: NDArray[np.float32], targets_NC: NDArray[np.bool_], *, objective: Objective, average: str) -> Fit:
    """Global and per-class optima of these images."""
    global_ = best_global_threshold(scores_NC, targets_NC, objective, average=average)
    own_C, values_C = best_threshold_per_class(scores_NC, targets_NC, objective)
    positives_C = count_per_class(targets_NC)
    return Fit(global_.threshold, own_C, positives_C, not np.isnan(global_.value), ~np.isnan(values_C))


def shrunk(
    own_C: NDArray[np.float64], global_: float, positives_C: NDArray[np.int64], strength: float
) -> NDArray[np.float64]:
    """The formula above, rounded to float32.

    Args:
        own_C: the classes' own optima.
        global_: the global threshold.
        positives_C: positives each own optimum rests on.
        strength: ``shrink``, 0 to infinity.
    """
    weight_C = np.where(positives_C > 0, positives_C / np.maximum(positives_C + strength, 1), 0.0)
    return (weight_C * own_C + (1 - weight_C) * global_).astype(np.float32).astype(np.float64)


def choose_strength(
    scores_NC: NDArray[np.float32],
    targets_NC: NDArray[np.bool_],
    *,
    objective: Objective,
    average: str,
    folds: int = 5,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """Strength that decides best on images left out, by cross-validation within the images given.

    Each fold is decided with thresholds fitted on the others; the decisions of all folds are pooled. For F-beta the
    strength of highest macro-F-beta wins. With a required recall (precision) it is the one whose classes come nearest
    to what was asked, in the mean of abs(recall_c - target). Of equally good strengths the strongest is taken, which
    is also the answer where there is nothing to choose by: fewer than two images, or no positive.

    Args:
        scores_NC: probabilities.
        targets_NC: 0 or 1.
        objective: what the thresholds maximise.
        average: of the global one, ``micro`` or ``macro``.
        folds: parts of (nearly) equal size; never more than images.
        seed: of the random assignment of images to folds.
        strengths: candidates, in any order.
    """
    ordered = sorted(strengths)
    totals_S3C = np.zeros((len(ordered), 3, scores_NC.shape[1]), dtype=np.int64)
    for inside_N, outside_N in _splits(len(scores_NC), folds=folds, seed=seed):
        fitted = fit(scores_NC[inside_N], targets_NC[inside_N], objective=objective, average=average)
        held_scores_NC, held_targets_NC = scores_NC[outside_N], targets_NC[outside_N]
        for s, strength in enumerate(ordered):
            decisions_NC = by_threshold(held_scores_NC, fitted.shrunk(strength))
            totals_S3C[s] += count_decisions(decisions_NC, held_targets_NC)
    worth = np.array([_worth(DecisionCounts(*total_3C), objective) for total_3C in totals_S3C])
    return ordered[int(np.flatnonzero(worth >= worth.max() - _TIE)[-1])]


def _splits(num_images: int, *, folds: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows to fit on and rows to decide, once per fold; none for fewer than two images."""
    folds = min(folds, num_images)
    if folds < 2:
        return
    fold_N = np.random.default_rng(seed).permutation(num_images) % folds
    for fold in range(folds):
        yield np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)


def _worth(counts: DecisionCounts, objective: Objective) -> float:
    if objective.kind == "fbeta":
        return fbeta_macro(counts, beta=objective.beta)
    present_C = counts.positives > 0
    required = counts.positives if objective.kind == "precision_at_recall" else counts.predicted
    share_C: NDArray[Any] = counts.tp / np.maximum(required, 1)
    return -float(np.abs(share_C[present_C] - objective.target).mean()) if present_C.any() else 0.0
