"""How far a score could have come out otherwise: bootstrap over images (Efron, 1979).

A resample draws N images out of N with replacement, all classes of an image together, and is held as the number of
times each image was drawn. Every score is computed anew on each resample with the thresholds fixed, exactly as if the
drawn images were scored; as everywhere, macro means run over the classes that have a positive in it. Intervals tell the
uncertainty from the choice of images alone, not from the seed of the training nor from fitting the thresholds.

Headline scores and differences get the basic interval, the percentiles of 2 value - resampled (Davison and Hinkley,
1997, eq. 5.6): a rare class drawn twice ranks better and one not drawn is left out, so that resampled macro scores are
biased, and percentiles keep that bias where the basic interval takes it off. In simulations with COCO's 80 frequencies
95 % intervals held the score of 300,000 images in this share of cases (percentile -> basic):

    600 images, n = 150:    mAP 0.59 -> 0.83, macro-F1 tuned 0.73 -> 0.87, CF1 0.45 -> 0.77, micro-F1 0.91 -> 0.91
    5,000 images, n = 80:   mAP 0.90 -> 0.97, macro-F1 tuned 0.85 -> 0.94, CF1 0.66 -> 0.89, micro-F1 0.93 -> 0.91

A single class's AP and F1 are skewed and bounded, there percentiles hold more: AP of classes with 15 to 50 positives
0.89 against 0.80. With fewer than 5 positives either is far too narrow (0.62).

Shapes: N images, C classes, R resamples (the first row is the sample itself).
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.decision_metrics import Floats, ScoringError, check_probabilities
from src.analysis.decisions import by_threshold
from src.analysis.resampling import Ranking, Rule, draw_weights, mean_over

Scores: TypeAlias = NDArray[np.floating[Any]]
Thresholds: TypeAlias = tuple[float, Floats]
"""Global, and one per class [C]."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and where it could lie.

    Attributes:
        value: on the images as they are.
        low: lower end.
        high: upper end.
        at_most_zero: of a difference, the share of resamples in which it is zero or less (of 2 value - resampled, as
            the interval): a one-sided p-value in kind. None for a score.
    """

    value: float
    low: float
    high: float
    at_most_zero: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """Scores on the sample (row 0) and on each resample.

    Attributes:
        headline: by name, each float64 [1 + R]: ``map``; ``f1_micro`` (and ``of1``, its other name), ``f1_macro`` and
            ``cf1`` at 0.5; ``f1_micro_tuned`` at the global threshold, ``f1_macro_tuned`` at the per-class ones.
        ap: average precision per class, [1 + R, C]; nan where the class has no positive in the resample.
        f1: F1 per class at the per-class thresholds, likewise.
        level: share of the resamples inside an interval.
    """

    headline: dict[str, Floats]
    ap: Floats
    f1: Floats
    level: float

    def intervals(self) -> dict[str, Interval]:
        """Interval of each headline score."""
        return {name: interval(values_R, level=self.level) for name, values_R in self.headline.items()}

    def classes(self) -> pd.DataFrame:
        """Columns ``ap``, ``ap_low``, ``ap_high``, ``f1``, ``f1_low``, ``f1_high``, a row per class; nan if absent.

        Percentile intervals; resamples without a positive of the class say nothing about it and are left out.
        """
        columns: dict[str, Floats] = {}
        for name, values_RC in (("ap", self.ap), ("f1", self.f1)):
            low_C, high_C = _percentiles(values_RC[1:], self.level)
            columns |= {name: values_RC[0], f"{name}_low": low_C, f"{name}_high": high_C}
        return pd.DataFrame(columns)


def bootstrap(
    scores_NC: Scores,
    targets_NC: NDArray[Any],
    *,
    global_threshold: float,
    class_thresholds_C: Floats,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Interval of every headline score: the keys of ``Resampled.headline``.

    1,000 resamples of 5,000 x 80 scores take 1.1 to 1.8 s on one core of a busy machine, of 600 x 80 0.11 to 0.17 s.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: multi-hot.
        global_threshold: one for all classes, for ``f1_micro_tuned``.
        class_thresholds_C: one per class, for ``f1_macro_tuned``.
        resamples: how many.
        seed: the same seed and N draw the same images.
        level: share of the resamples inside the interval.

    Raises:
        ScoringError: see ``check_probabilities``; or resamples or level are out of range.
    """
    thresholds = (global_threshold, class_thresholds_C)
    return resample(scores_NC, targets_NC, thresholds, resamples=resamples, seed=seed, level=level).intervals()


def bootstrap_classes(
    scores_NC: Scores,
    targets_NC: NDArray[Any],
    *,
    class_thresholds_C: Floats,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Average precision and F1 of each class with intervals: see ``Resampled.classes`` and ``bootstrap``."""
    thresholds = (0.5, class_thresholds_C)
    return resample(scores_NC, targets_NC, thresholds, resamples=resamples, seed=seed, level=level).classes()


def paired_bootstrap(
    scores_a_NC: Scores,
    scores_b_NC: Scores,
    targets_NC: NDArray[Any],
    *,
    thresholds_a: Thresholds,
    thresholds_b: Thresholds,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Difference a - b of every headline score, both models on the same resamples of the same images.

    What makes images hard is common to both, so that the interval is narrower than those of the two scores suggest. A
    model against itself differs by exactly 0.

    Args:
        scores_a_NC: probabilities of one model.
        scores_b_NC: probabilities of the other, same images in the same order.
        targets_NC: multi-hot.
        thresholds_a: global and per-class thresholds of a.
        thresholds_b: of b.
        resamples: how many.
        seed: of the draw.
        level: share of the resamples inside the interval.

    Raises:
        ScoringError: see ``bootstrap``.
    """
    a = resample(scores_a_NC, targets_NC, thresholds_a, resamples=resamples, seed=seed, level=level).headline
    b = resample(scores_b_NC, targets_NC, thresholds_b, resamples=resamples, seed=seed, level=level).headline
    return {name: interval(a[name] - b[name], level=level, difference=True) for name in a}


def interval(values_R: Floats, *, level: float, difference: bool = False) -> Interval:
    """Basic interval of values whose first is the sample's own; that of a score is cut to [0, 1].

    Where the bias of resampling exceeds the spread, as with a few dozen images, the interval would leave out the value
    itself: it is extended to hold it.
    """
    value, reflected_R = float(values_R[0]), 2 * values_R[0] - values_R[1:]
    low, high = np.quantile(reflected_R, [(1 - level) / 2, (1 + level) / 2]).tolist()
    low, high = min(low, value), max(high, value)
    if difference:
        return Interval(value, low, high, float((reflected_R <= 0).mean()))
    return Interval(value, max(low, 0.0), min(high, 1.0))


def resample(
    scores_NC: Scores, targets_NC: NDArray[Any], thresholds: Thresholds, *, resamples: int, seed: int, level: float
) -> Resampled:
    """Score the sample and every resample.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: multi-hot.
        thresholds: global and per class.
        resamples: how many, 1 or more.
        seed: of the draw.
        level: share of the resamples inside an interval, in (0, 1).

    Raises:
        ScoringError: see ``bootstrap``.
    """
    check_probabilities(scores_NC, targets_NC)
    if resamples < 1 or not 0 < level < 1:
        raise ScoringError(f"resamples={resamples}, level={level:g}: expected 1 or more, and a share between 0 and 1")
    if thresholds[1].shape != scores_NC.shape[1:]:
        raise ScoringError(f"{thresholds[1].shape} thresholds for {scores_NC.shape[1]} classes: expected one for each")
    truth_NC = targets_NC.astype(bool)
    decided = [by_threshold(scores_NC, threshold) for threshold in (0.5, *thresholds)]
    columns = [Ranking(scores_N, truth_N) for scores_N, truth_N in zip(scores_NC.T, truth_NC.T, strict=True)]
    # One product counts everything: positives, and per rule hits and decisions. float32 counts exactly up to 2^24.
    counted = [truth_NC, *(part for rule_NC in decided for part in (rule_NC & truth_NC, rule_NC))]
    counted_NK = np.concatenate(counted, axis=1, dtype=np.float32)
    counts, ap = [], []
    for weights_RN in draw_weights(len(truth_NC), resamples, seed):
        counts.append(weights_RN.astype(np.float32) @ counted_NK)
        ap.append(np.stack([column.average_precision(weights_RN) for column in columns], axis=1))
    positives_RC, *pairs = np.split(np.concatenate(counts).astype(np.float64), len(counted), axis=1)
    rules = [Rule(tp, decided, positives_RC) for tp, decided in zip(pairs[::2], pairs[1::2], strict=True)]
    present_RC, ap_RC = positives_RC > 0, np.concatenate(ap)
    return Resampled(
        headline=_headline(ap_RC, present_RC, *rules),
        ap=np.where(present_RC, ap_RC, np.nan),
        f1=np.where(present_RC, rules[2].f1(), np.nan),
        level=level,
    )


def _headline(
    ap_RC: Floats, present_RC: NDArray[np.bool_], half: Rule, tuned: Rule, per_class: Rule
) -> dict[str, Floats]:
    micro_R = half.f1_micro()
    return {
        "map": mean_over(ap_RC, present_RC),
        "f1_micro": micro_R,
        "f1_macro": mean_over(half.f1(), present_RC),
        "cf1": half.cf1(present_RC),
        "of1": micro_R,
        "f1_micro_tuned": tuned.f1_micro(),
        "f1_macro_tuned": mean_over(per_class.f1(), present_RC),
    }


def _percentiles(values_RC: Floats, level: float) -> tuple[Floats, Floats]:
    """Both ends of the interval per column, nan ignored; nan where a column holds nothing else."""
    low_C, high_C = (np.full(values_RC.shape[1], np.nan) for _ in range(2))
    for c, values_R in enumerate(values_RC.T):
        if len(known := values_R[~np.isnan(values_R)]):
            low_C[c], high_C[c] = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return low_C, high_C
