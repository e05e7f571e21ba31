"""Exact search for the best decision threshold: by sorting, never on a grid.

A class is predicted where score >= threshold. Scores are compared in float32 and every threshold returned is a float32
number (as a Python float or float64), so that the rule reads the same in NumPy, torch and an exported model.

Only cuts just below a positive can be best, for every objective here: to go on past negatives alone leaves recall as it
is and lowers precision. So the distinct scores of the positives are all there is to try. Equal scores fall on the same
side. The threshold is the midpoint between the last score taken and the next lower one (0 below the lowest), so that
scores rounded differently, on other hardware say, stay on their side; between neighbouring float32 it is the upper one.
It is never above the highest positive, hence never above 1. Of equally good cuts the highest is taken.

Shapes: N images, C classes, P positives, K cuts in rising order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.analysis.decisions import count_per_class
from src.config.schema.rules import require, require_choice

DEFAULT_THRESHOLD = 0.5
KINDS = ("fbeta", "precision_at_recall", "recall_at_precision")
AVERAGES = ("micro", "macro")
# Macro values are sums of up to N * C rounded differences; smaller gaps than this are taken for a tie.
_SLACK = 1e-12
_NUM_PROBES = 64
# From so many on, scores are left out of the sort that lie below these shares of the positives, if it can be.
_MANY = 200_000
_PROBED = (0.5, 0.3, 0.2, 0.1, 0.05)

Floats = NDArray[np.float64]
Scores = NDArray[np.float32]
Keys = NDArray[np.uint32]
Column = tuple[Scores, Scores]
"""Scores of one class in rising order, [N], and those of its positives, [P]."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What a threshold maximises.

        fbeta                 F = (1 + beta^2) TP / (beta^2 positives + predicted)
        precision_at_recall   precision = TP / predicted, among cuts with recall = TP / positives >= target
        recall_at_precision   recall, among cuts with precision >= target

    Attributes:
        kind: one of the three.
        beta: weight of recall against precision in ``fbeta``; 1 is F1, 2 favours recall.
        target: the recall or precision required by the other two, in (0, 1].

    Raises:
        ConfigError: unknown kind, or a number out of its range.
    """

    kind: str = "fbeta"
    beta: float = 1.0
    target: float = 0.9

    def __post_init__(self) -> None:
        require_choice("thresholds.objective", self.kind, KINDS)
        require(0 < self.beta < inf, "thresholds.beta", self.beta, "must be > 0 and finite; 1 is F1")
        require(0 < self.target <= 1, "thresholds.target", self.target, "must lie in (0, 1]")

    def __str__(self) -> str:
        match self.kind:
            case "fbeta":
                return f"F{self.beta:g}"
            case "precision_at_recall":
                return f"precision at recall >= {self.target:g}"
            case _:
                return f"recall at precision >= {self.target:g}"


F1 = Objective()


class Best(NamedTuple):
    """A threshold and the value of the objective there.

    The value is nan where no cut reaches the target: the threshold then is that of the highest precision, or 0.5
    without any positive. Of ``fbeta`` it is never nan: 0 without any positive, where every threshold gives 0.
    """

    threshold: float
    value: float


def best_threshold(scores_N: NDArray[np.floating], targets_N: NDArray[Any], objective: Objective) -> Best:
    """Best threshold of one class, or of decisions pooled.

    Args:
        scores_N: probabilities in [0, 1].
        targets_N: 0 or 1.
        objective: what to maximise.
    """
    keys_N, positives = _keys(scores_N, targets_N), int(np.count_nonzero(targets_N))
    return _best_of_ranked(np.sort(_worth_ranking(keys_N, positives, objective)), objective, positives)


def best_threshold_per_class(
    scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], objective: Objective
) -> tuple[Floats, Floats]:
    """``best_threshold`` of each class: thresholds and values, float64 [C] each."""
    ranked_CN, counts_C = _ranked_columns(scores_NC, targets_NC), count_per_class(np.asarray(targets_NC, bool)).tolist()
    best = [_best_of_ranked(ranked_N, objective, count) for ranked_N, count in zip(ranked_CN, counts_C, strict=True)]
    return np.array([found.threshold for found in best]), np.array([found.value for found in best])


def best_global_threshold(
    scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], objective: Objective, *, average: str = "micro"
) -> Best:
    """Best single threshold for all classes.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: 0 or 1.
        objective: what to maximise.
        average: ``micro`` pools all decisions; ``macro`` as ``best_macro_threshold``.
    """
    require_choice("thresholds.average", average, AVERAGES)
    if average == "macro":
        return best_macro_threshold(scores_NC, targets_NC, objective)
    return best_threshold(np.ravel(scores_NC), np.ravel(targets_NC), objective)


def best_macro_threshold(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], objective: Objective) -> Best:
    """Single threshold for all classes that is best in the mean over the classes with a positive.

        macro-X(t) = mean_c X_c(t),   X the F-beta, precision (0 where nothing is predicted) or recall of class c

    Lowering t past one score changes X_c of one class; the sum of these changes from the top down to each cut is the
    macro curve, exact at every cut. Cuts too low to be best are left out first, see ``_within_reach``. Values closer
    than 1e-12 count as equal.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: 0 or 1.
        objective: what to maximise; its target applies to macro recall or macro precision.
    """
    keys_CN = _ranked_columns(scores_NC, targets_NC)
    columns = [(_scores(keys_N), _scores(keys_N[_is_positive(keys_N)])) for keys_N in keys_CN]
    columns = [(ranked_N, positives_P) for ranked_N, positives_P in columns if len(positives_P)]
    if not columns:
        return _without_positives(objective)
    pooled_P = np.sort(np.concatenate([positives_P for _, positives_P in columns]))
    cuts_K = _within_reach(pooled_P[_first_of_each(pooled_P)], columns, objective)
    best, value = _choose(*_macro_curves(cuts_K, columns, objective), objective, slack=_SLACK)
    cut = cuts_K[best]
    if not np.isnan(value):  # without the rounding of the sums
        quality_1, recall_1, _ = _macro_at(cut[None], columns, objective)
        value = float((recall_1 if objective.kind == "recall_at_precision" else quality_1)[0])
    lower = max(ranked_N[: np.searchsorted(ranked_N, cut)].max(initial=0) for ranked_N, _ in columns)
    return Best(_between(lower, cut), value)


def _keys(scores: NDArray[np.floating], targets: NDArray[Any]) -> Keys:
    """Score and target in one number that sorts by score; positives come first among equal scores.

    The bits of floats >= 0 order like the floats, and the sign bit is free: one integer sort ranks both, so that the
    first positive of a run of equal scores stands at the start of the run.
    """
    bits: Keys = np.ascontiguousarray(scores, dtype=np.float32).view(np.uint32)
    keys: Keys = bits << np.uint32(1)
    keys |= ~np.asarray(targets, dtype=bool)
    return keys


def _scores(keys: Keys) -> Scores:
    return (keys >> 1).view(np.float32)


def _is_positive(keys: Keys) -> NDArray[np.bool_]:
    positive: NDArray[np.bool_] = (keys & 1) == 0
    return positive


def _ranked_columns(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any]) -> Keys:
    """Keys of each class in rising order, [C, N]."""
    return np.sort(np.ascontiguousarray(_keys(scores_NC, targets_NC).T), axis=1)


def _worth_ranking(keys_N: Keys, positives: int, objective: Objective) -> Keys:
    """Of many keys those so high that a cut there may be best in F-beta; the others need no place.

    A lower cut finds every positive at most, and predicts at least as many as this one does.
    """
    if objective.kind != "fbeta" or len(keys_N) < _MANY or not positives:
        return keys_N
    positive_P = np.sort(keys_N[_is_positive(keys_N)])
    reached = 0.0
    for share in _PROBED:
        at = int(positives * share)
        predicted = int(np.count_nonzero(keys_N >= positive_P[at]))
        reached = max(reached, _quality(positives - at, predicted, positives, objective))
        if _quality(positives, predicted, positives, objective) < reached:
            high_M: Keys = keys_N[keys_N >= positive_P[at]]
            return high_M
    return keys_N


def _best_of_ranked(keys_N: Keys, objective: Objective, positives: int) -> Best:
    rows_P = np.flatnonzero(_is_positive(keys_N))
    if not positives:
        return _without_positives(objective)
    first_K = _first_of_each(keys_N[rows_P])
    below_K = rows_P[first_K]
    tp_K, predicted_K = len(rows_P) - first_K, len(keys_N) - below_K
    quality_K = _quality(tp_K, predicted_K, positives, objective)
    best, value = _choose(quality_K, tp_K / positives, objective)
    below = below_K[best]
    lower, upper = _scores(keys_N[[max(below - 1, 0), below]])
    return Best(_between(lower if below else np.float32(0), upper), value)


def _without_positives(objective: Objective) -> Best:
    return Best(DEFAULT_THRESHOLD, 0.0 if objective.kind == "fbeta" else float("nan"))


def _first_of_each(ranked_P: NDArray[Any]) -> NDArray[np.intp]:
    """Index of the first of each run of equal values."""
    return np.flatnonzero(np.concatenate(([True], ranked_P[1:] != ranked_P[:-1])))


def _quality(tp: Any, predicted: Any, positives: Any, objective: Objective) -> Any:
    """F-beta; precision for the kinds that weigh it against recall."""
    if objective.kind == "fbeta":
        squared = objective.beta**2
        return (1 + squared) * tp / (squared * positives + predicted)
    return tp / np.maximum(predicted, 1)


def _choose(quality_K: Floats, recall_K: Floats, objective: Objective, *, slack: float = 0.0) -> tuple[int, float]:
    """Highest of the best cuts, and its value; nan if none reaches the target."""
    goal_K, reached = quality_K, True
    if objective.kind == "precision_at_recall":
        goal_K = np.where(recall_K >= objective.target - slack, quality_K, -1.0)
    elif objective.kind == "recall_at_precision":
        allowed_K = quality_K >= objective.target - slack
        reached = bool(allowed_K.any())
        goal_K = np.where(allowed_K, recall_K, -1.0) if reached else quality_K
    best = int(np.flatnonzero(goal_K >= goal_K.max() - slack)[-1])
    return best, float(goal_K[best]) if reached else float("nan")


def _macro_curves(cuts_K: Scores, columns: Sequence[Column], objective: Objective) -> tuple[Floats, Floats]:
    """Macro quality and macro recall at each cut, by summing changes from the highest score down."""
    quality_K, recall_K = np.zeros(len(cuts_K)), np.zeros(len(cuts_K))
    for ranked_N, positives_P in columns:
        taken_M = ranked_N[np.searchsorted(ranked_N, cuts_K[0]) :]
        predicted_M = np.arange(len(taken_M), 0, -1)
        tp_M = len(positives_P) - np.searchsorted(positives_P, taken_M)
        curve_M = _quality(tp_M, predicted_M, len(positives_P), objective)
        # Within equal scores the changes add up to that of the run: they all belong to the same cut.
        change_M = np.diff(curve_M, append=0.0)
        slots_M = np.searchsorted(cuts_K, taken_M, side="right") - 1
        quality_K -= np.bincount(slots_M, weights=change_M, minlength=len(cuts_K))
        found_P = positives_P[np.searchsorted(positives_P, cuts_K[0]) :]
        recall_K += np.bincount(np.searchsorted(cuts_K, found_P), minlength=len(cuts_K)) / len(positives_P)
    quality_K, recall_K = (np.cumsum(total_K[::-1])[::-1] / len(columns) for total_K in (quality_K, recall_K))
    return quality_K, recall_K


def _macro_at(cuts_M: Scores, columns: Sequence[Column], objective: Objective) -> tuple[Floats, Floats, Floats]:
    """Macro quality and recall at a few cuts, and the most that this or any lower cut can have of the former."""
    curves = []
    for ranked_N, positives_P in columns:
        total = len(positives_P)
        tp_M = total - np.searchsorted(positives_P, cuts_M)
        predicted_M = len(ranked_N) - np.searchsorted(ranked_N, cuts_M)
        ceiling_M = _quality(total, predicted_M, total, objective)
        curves.append((_quality(tp_M, predicted_M, total, objective), tp_M / total, ceiling_M))
    quality_M, recall_M, ceiling_M = np.mean(curves, axis=0)
    return quality_M, recall_M, ceiling_M


def _within_reach(cuts_K: Scores, columns: Sequence[Column], objective: Objective) -> Scores:
    """The cuts without the lowest ones, which predict too much to beat a cut already probed.

    With the scores of a trained model nine tenths of all scores lie below what is left.
    """
    probes_M = np.linspace(0, len(cuts_K) - 1, min(_NUM_PROBES, len(cuts_K))).astype(np.intp)
    quality_M, recall_M, ceiling_M = _macro_at(cuts_K[probes_M], columns, objective)
    needed = float(quality_M.max())
    if objective.kind == "precision_at_recall":
        needed = float(quality_M[recall_M >= objective.target].max(initial=0.0))
    elif objective.kind == "recall_at_precision":
        needed = min(objective.target, needed)
    hopeless = np.flatnonzero(ceiling_M < needed - 1e-9)
    return cuts_K[probes_M[hopeless[-1]] + 1 :] if len(hopeless) else cuts_K


def _between(lower: np.float32, upper: np.float32) -> float:
    """Float32 number t with lower < t <= upper, the midpoint where it exists; ``upper`` where both are equal."""
    middle = np.float32((float(lower) + float(upper)) / 2)
    return float(middle if middle > lower else upper)
