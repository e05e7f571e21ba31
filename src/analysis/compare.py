"""Runs beside one another: means and spreads over seeds, differences with intervals, changes per class, curves.

Shapes: M runs, C classes, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.bootstrap import Resampled
from src.analysis.differences import Pairs
from src.analysis.imbalance import GROUP_NAMES
from src.analysis.labels import RARE

METRICS = ("map", "f1_micro", "f1_macro", "f1_micro_tuned", "f1_macro_tuned", "cf1", "of1",
           "f1_head_tuned", "f1_mid_tuned", "f1_tail_tuned")  # fmt: skip
"""What is compared. ``…_tuned`` is at the run's own thresholds, the other decisions at 0.5. Head, mid and tail are the
thirds of the classes by frequency among the compared images, the same classes for every run."""
DIFFERENCE_COLUMNS = ("group", "reference", "metric", "difference", "low", "high", "images_se", "seeds_se", "df",
                      "covers", "clear")  # fmt: skip
CLASS_COLUMNS = ("group", "reference", "metric", "class_name", "positives", "before", "after", "difference", "low",
                 "high", "clear")  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRun:
    """One run's part of a comparison.

    Attributes:
        name: its folder.
        group: label of the runs it is a repetition of.
        seed: its seed.
        headline: metric to its value on the images (row 0) and on each resample, the same for every run, [1 + R].
        ap: average precision per class, [1 + R, C], nan where a resample has no positive of the class.
        f1: F1 per class at the run's own thresholds, likewise.
    """

    name: str
    group: str
    seed: int
    headline: Mapping[str, NDArray[np.float64]]
    ap: NDArray[np.float64]
    f1: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Everything that the tables, the page and the notebook show.

    Attributes:
        split: whose images.
        num_images: how many.
        reference: group that is subtracted.
        level: of the intervals.
        runs: see :func:`run_table`.
        groups: see :func:`group_table`.
        differences: see :func:`difference_table`.
        classes: see :func:`class_changes`.
        curves: see :func:`curve_table`.
        options: keys that differ, with one column per group.
        notes: what a reader must know besides.
    """

    split: str
    num_images: int
    reference: str
    level: float
    runs: pd.DataFrame
    groups: pd.DataFrame
    differences: pd.DataFrame
    classes: pd.DataFrame
    curves: pd.DataFrame
    options: pd.DataFrame
    notes: tuple[str, ...]


def scored_run(
    name: str, group: str, seed: int, resampled: Resampled, *, frequency_groups_C: NDArray[np.int64]
) -> ScoredRun:
    """Add the F1 of head, mid and tail to what the bootstrap gives.

    Args:
        name: the run's folder.
        group: its label.
        seed: its seed.
        resampled: from ``src.analysis.bootstrap.resample``.
        frequency_groups_C: 0 head, 1 mid, 2 tail of each class.
    """
    headline = dict(resampled.headline)
    for number, third in enumerate(GROUP_NAMES):
        members_RC = resampled.f1[:, frequency_groups_C == number]
        known_RC = ~np.isnan(members_RC)
        total_R, count_R = np.where(known_RC, members_RC, 0).sum(axis=1), known_RC.sum(axis=1)
        headline[f"f1_{third}_tuned"] = np.where(count_R > 0, total_R / np.maximum(count_R, 1), np.nan)
    return ScoredRun(name, group, seed, headline, resampled.ap, resampled.f1)


def run_table(runs: Sequence[ScoredRun]) -> pd.DataFrame:
    """One row per run: ``run``, ``group``, ``seed`` and ``METRICS``."""
    rows = [
        {"run": run.name, "group": run.group, "seed": run.seed}
        | {name: float(run.headline[name][0]) for name in METRICS}
        for run in runs
    ]
    return pd.DataFrame(rows)


def group_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean and sd (n - 1) over the runs of each group.

    Args:
        runs: from :func:`run_table`.

    Returns:
        One row per group in order of appearance: ``group``, ``n`` and per metric its mean and ``<metric>_sd``, nan
        where n is 1.
    """
    metrics = list(METRICS)
    grouped = runs.groupby("group", sort=False)
    mean, sd = grouped[metrics].mean(), grouped[metrics].std(ddof=1).add_suffix("_sd")
    columns = [column for name in metrics for column in (name, f"{name}_sd")]
    table = pd.concat([grouped.size().rename("n"), pd.concat([mean, sd], axis=1)[columns]], axis=1)
    return table.reset_index()


def difference_table(runs: Sequence[ScoredRun], *, reference: str, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Every group less the reference, with the interval that ``src.analysis.differences`` describes.

    Args:
        runs: two or more, in two or more groups.
        reference: group that is subtracted.
        level: share of the intervals that hold the true difference, were the seeds' spread normal.
        seed: of the seeds' part.

    Returns:
        One row per group and metric: ``group``, ``reference``, ``metric``, ``difference``, ``low``, ``high``,
        ``images_se`` and ``seeds_se`` (standard errors of the two parts; nan where unknown), ``df``, ``covers``
        (``images and seeds`` or ``images``), ``clear`` (the interval leaves out 0).
    """
    pair = _pairs(runs, reference, level, seed)
    rows = []
    for group in pair.others:
        for metric in METRICS:
            draws_MR = np.stack([run.headline[metric] for run in runs])
            found = pair.difference(draws_MR, group)
            parts = (found.images_se, found.seeds_se, pair.df, pair.covers, found.clear)
            rows.append((group, reference, metric, found.value, found.low, found.high, *parts))
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


def class_changes(
    runs: Sequence[ScoredRun],
    *,
    reference: str,
    class_names: Sequence[str],
    positives_C: NDArray[np.int64],
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """The same for average precision (``ap``) and F1 at the run's own thresholds (``f1``) of each class.

    With many classes some intervals leave out 0 by chance alone: about (1 - level) of them. A handful of positives,
    fewer than ``RARE``, is resampled into an interval that is too short, so that it never counts as clear.

    Args:
        runs: as in :func:`difference_table`.
        reference: group that is subtracted.
        class_names: the C names.
        positives_C: images that have the class.
        level: of the intervals.
        seed: of the seeds' part.

    Returns:
        One row per group, metric and class with a positive: ``group``, ``reference``, ``metric``, ``class_name``,
        ``positives``, ``before`` and ``after`` (means of the reference and of the group), ``difference``, ``low``,
        ``high``, ``clear``; largest gain first.
    """
    pair = _pairs(runs, reference, level, seed)
    rows = []
    for metric in ("ap", "f1"):
        draws_MRC = np.stack([getattr(run, metric) for run in runs])
        for group in pair.others:
            for c in np.flatnonzero(positives_C).tolist():
                found = pair.difference(draws_MRC[:, :, c], group)
                head = (group, reference, metric, class_names[c], int(positives_C[c]))
                clear = found.clear and int(positives_C[c]) >= RARE
                scores = (found.before, found.before + found.value, found.value, found.low, found.high)
                rows.append((*head, *scores, clear))
    table = pd.DataFrame(rows, columns=list(CLASS_COLUMNS))
    return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def curve_table(records: Mapping[str, Sequence[Mapping[str, Any]]], groups: Mapping[str, str]) -> pd.DataFrame:
    """Records of all runs in one table: ``run``, ``group``, ``epoch`` (from 1), ``metric`` (``split/name``), ``value``.

    Args:
        records: by run, as in metrics.jsonl.
        groups: by run.
    """
    rows = [
        (run, groups[run], int(record["epoch"]) + 1, key, float(value))
        for run, epochs in records.items()
        for record in epochs
        for key, value in record.items()
        if "/" in key
    ]
    return pd.DataFrame(rows, columns=["run", "group", "epoch", "metric", "value"])


def _pairs(runs: Sequence[ScoredRun], reference: str, level: float, seed: int) -> Pairs:
    return Pairs([run.group for run in runs], reference, resamples=len(runs[0].ap) - 1, level=level, seed=seed)
