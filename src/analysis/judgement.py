"""One run on one split, judged: every metric, intervals, classes, constant baselines, calibration.

Names carry the rule of decision as a suffix (``RULES``), so that ``of1``, ``of1_global`` and ``of1_top3`` stand side by
side; ``docs/metrics.md`` has them all. Two are headline numbers with names of their own: ``f1_micro_tuned`` is
``f1_micro_global`` and ``f1_macro_tuned`` is ``f1_macro_per_class``, each at the threshold that was fitted for it.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.bootstrap import Interval, Resampled, resample
from src.analysis.calibration import brier, classwise_ece, ece, reliability
from src.analysis.decision_metrics import Floats, ScoringError, class_counts, decision_metrics, f1, precision, recall
from src.analysis.decisions import by_threshold, top_k, top_k_and_threshold
from src.analysis.imbalance import GROUP_NAMES, ConstantBaselines, constant_baselines
from src.analysis.ranking_metrics import ranking_metrics

HALF = 0.5
TOP = 3
RULES = {
    "": "score >= 0.5",
    "_global": "score >= the global threshold",
    "_per_class": "score >= the class's own threshold",
    "_top3": "the three classes of highest score",
    "_top3_thr": "those of the three that also reach 0.5",
}
"""Suffix of a metric's name and the decisions it is taken of."""


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What is known about a run on a split.

    Attributes:
        metrics: flat, by the names of ``docs/metrics.md``; all finite.
        intervals: of the headline numbers, by the same names.
        per_class: a row per class in class order: ``class_name``, ``support`` (positives here), ``frequency``,
            ``group`` (head, mid, tail or empty), ``ap``, ``ap_low``, ``ap_high``; at the class's own ``threshold``
            ``precision``, ``recall``, ``f1``, ``f1_low``, ``f1_high``, ``tp``, ``fp``, ``fn``; ``f1_at_half``. Of an
            absent class the scores are nan, so that the columns' means are ``map``, ``cp_per_class`` and so on.
        baselines: what answers reach that do not look at the image.
        reliability: see ``src.analysis.calibration.reliability``.
        num_images: images scored.
        global_threshold: the threshold of ``_global``.
        resamples: behind the intervals.
        level: of the intervals.
    """

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    per_class: pd.DataFrame
    baselines: ConstantBaselines
    reliability: pd.DataFrame
    num_images: int
    global_threshold: float
    resamples: int
    level: float

    def to_json(self) -> dict[str, Any]:
        """Plain dict for JSON: tables as lists of rows, null for what is not defined."""
        return {
            "num_images": self.num_images,
            "global_threshold": self.global_threshold,
            "metrics": dict(self.metrics),
            "intervals": {
                name: {"value": found.value, "low": found.low, "high": found.high}
                for name, found in self.intervals.items()
            },
            "resamples": self.resamples,
            "level": self.level,
            "per_class": _rows(self.per_class),
            "baselines": asdict(self.baselines),
            "reliability": _rows(self.reliability),
        }


def judge(
    scores_NC: NDArray[np.floating],
    targets_NC: NDArray[Any],
    *,
    class_names: Sequence[str],
    global_threshold: float,
    class_thresholds_C: Floats,
    groups_C: NDArray[np.integer[Any]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Judgement:
    """Judge scores with thresholds that were fitted elsewhere.

    5,000 x 80 scores with 1,000 resamples take 1.9 s on one core of a busy machine.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: multi-hot.
        class_names: names, [C].
        global_threshold: one for all classes, for micro-F1.
        class_thresholds_C: one per class, for macro-F1.
        groups_C: 0 head, 1 mid, 2 tail per class by the training set's counts; adds ``f1_head`` and so on.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        level: of the intervals.

    Raises:
        ScoringError: shapes or names do not match, or scores are no probabilities.
    """
    if len(class_names) != scores_NC.shape[-1]:
        raise ScoringError(f"{len(class_names)} class names for scores {scores_NC.shape}: expected one for each class")
    thresholds = (global_threshold, np.asarray(class_thresholds_C, dtype=np.float64))
    resampled = resample(scores_NC, targets_NC, thresholds, resamples=resamples, seed=seed, level=level)
    return Judgement(
        metrics=_metrics(scores_NC, targets_NC, *thresholds, groups_C),
        intervals=resampled.intervals(),
        per_class=_per_class(scores_NC, targets_NC, class_names, thresholds[1], groups_C, resampled),
        baselines=constant_baselines(targets_NC.astype(np.uint8)),
        reliability=reliability(scores_NC, targets_NC),
        num_images=len(scores_NC),
        global_threshold=global_threshold,
        resamples=resamples,
        level=level,
    )


def constant_notes(judged: Judgement) -> list[str]:
    """A line where the scores cannot be told from those of an answer that does not look at the image."""
    intervals, constant = judged.intervals, judged.baselines
    micro = intervals["f1_micro_tuned"]
    if intervals["map"].low > constant.prior_map or micro.low > constant.best_f1_micro:
        return []
    return [
        f"no better than naming the {constant.most_frequent} whatever the image: micro-F1 "
        f"{micro.value:.3f} [{micro.low:.3f}, {micro.high:.3f}] against {constant.best_f1_micro:.3f}; "
        "nothing is learnt yet, and thresholds fitted to these scores say nothing"
    ]


def own_threshold_notes(judged: Judgement) -> list[str]:
    """A line where labels at the classes' own thresholds are worse than an answer that does not look at the image.

    Macro-F1, which those are chosen by, hardly minds a rare class that is named everywhere.
    """
    own, pooled = judged.metrics["f1_micro_per_class"], judged.metrics["f1_micro_global"]
    constant = judged.baselines
    if not own < constant.best_f1_micro <= pooled:
        return []
    return [
        f"worse than naming the {constant.most_frequent} whatever the image where each class has its own threshold: "
        f"micro-F1 {own:.3f} against {constant.best_f1_micro:.3f}; {pooled:.3f} at the global one, which "
        "thresholds=global of src.predict takes"
    ]


def threshold_note(judged: Judgement) -> str:
    """What all decisions together come to at the global threshold and at the classes' own."""

    def at(suffix: str) -> str:
        f1_micro, op, found = (judged.metrics[name + suffix] for name in ("f1_micro", "op", "or"))
        return f"micro-F1 {f1_micro:.3f}, precision {op:.3f}, recall {found:.3f}"

    return f"global threshold {judged.global_threshold:.3f}: {at('_global')}; each class's own: {at('_per_class')}"


def _metrics(
    scores_NC: NDArray[np.floating],
    targets_NC: NDArray[Any],
    global_threshold: float,
    class_thresholds_C: Floats,
    groups_C: NDArray[np.integer[Any]] | None,
) -> dict[str, float]:
    top = min(TOP, scores_NC.shape[1])
    decided = (
        by_threshold(scores_NC, HALF),
        by_threshold(scores_NC, global_threshold),
        by_threshold(scores_NC, class_thresholds_C),
        top_k(scores_NC, top),
        top_k_and_threshold(scores_NC, top, HALF),
    )
    metrics = ranking_metrics(scores_NC, targets_NC)
    for suffix, decided_NC in zip(RULES, decided, strict=True):
        found = decision_metrics(decided_NC, targets_NC, groups_C=groups_C)
        metrics |= {name + suffix: value for name, value in found.items()}
    return metrics | {
        "f1_micro_tuned": metrics["f1_micro_global"],
        "f1_macro_tuned": metrics["f1_macro_per_class"],
        "ece": ece(scores_NC, targets_NC),
        "ece_classwise": float(classwise_ece(scores_NC, targets_NC).mean()),
        "brier": brier(scores_NC, targets_NC),
    }


def _per_class(
    scores_NC: NDArray[np.floating],
    targets_NC: NDArray[Any],
    class_names: Sequence[str],
    thresholds_C: Floats,
    groups_C: NDArray[np.integer[Any]] | None,
    resampled: Resampled,
) -> pd.DataFrame:
    counts = class_counts(by_threshold(scores_NC, thresholds_C), targets_NC)
    at_half = class_counts(by_threshold(scores_NC, HALF), targets_NC)
    support_C, found = counts.tp + counts.fn, resampled.classes()
    groups = [""] * len(class_names) if groups_C is None else [GROUP_NAMES[group] for group in groups_C]

    def where_present(values_C: Floats) -> Floats:
        return np.where(support_C > 0, values_C, np.nan)

    return pd.DataFrame(
        {
            "class_name": list(class_names),
            "support": support_C,
            "frequency": support_C / len(targets_NC),
            "group": groups,
            **{name: found[name] for name in ("ap", "ap_low", "ap_high")},
            "threshold": thresholds_C,
            "precision": where_present(precision(counts)),
            "recall": where_present(recall(counts)),
            **{name: found[name] for name in ("f1", "f1_low", "f1_high")},
            "f1_at_half": where_present(f1(at_half)),
            "tp": counts.tp,
            "fp": counts.fp,
            "fn": counts.fn,
        }
    )


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain dicts; nan becomes None."""
    return [
        {str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
