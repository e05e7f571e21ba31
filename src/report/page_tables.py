"""The page's tables as plain rows; a cell is text that is shown and, where it sorts, the number behind it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.imbalance import summarize
from src.analysis.labels import RARE, conditional, cooccurrence
from src.report.page_input import ReportInput

PAIRS = 10
NONE = "\N{EN DASH}"
"""Where there is no number."""
WEAK = 8


class Cell(NamedTuple):
    """One cell of a sortable table."""

    text: str
    value: float | str
    """Sorts the column; nan goes last."""


class SummaryRow(NamedTuple):
    """One metric: at 0.5, at fitted thresholds (empty where no threshold plays a part), and of a constant answer."""

    name: str
    meaning: str
    at_half: str
    fitted: str
    constant: str


def summary_rows(report: ReportInput) -> list[SummaryRow]:
    """Headline numbers with their intervals."""
    constant = report.judgement.baselines
    of = report.thresholds.fitted_on
    rows = (
        ("mAP", "mean average precision; needs no threshold", "map", None, constant.prior_map),
        ("micro-F1", f"all decisions pooled; fitted: one threshold, of {of}", "f1_micro", "f1_micro_tuned",
         constant.best_f1_micro),
        ("macro-F1", f"mean over classes; fitted: one threshold per class, of {of}", "f1_macro", "f1_macro_tuned",
         constant.best_f1_macro),
        ("CF1", f"harmonic mean of the classes' mean precision and mean recall; fitted: per class, of {of}",
         "cf1", "cf1_per_class", None),
        ("OF1", "the literature's name for micro-F1", "of1", "of1_global", constant.best_f1_micro),
    )  # fmt: skip
    return [
        SummaryRow(name, meaning, with_interval(report, half), with_interval(report, fitted), score(floor))
        for name, meaning, half, fitted, floor in rows
    ]


def with_interval(report: ReportInput, key: str | None) -> str:
    """``0.652 [0.641, 0.663]``, the number alone where there is no interval, empty without a key."""
    if key is None:
        return ""
    found = report.judgement.intervals.get(key)
    if found is None:
        return score(report.judgement.metrics[key])
    return _interval(found.value, found.low, found.high)


def class_rows(per_class: pd.DataFrame) -> list[dict[str, Cell]]:
    """Rows of the class table, in class order; keys are the columns."""
    return [
        {
            "class": Cell(str(row["class_name"]), str(row["class_name"]).lower()),
            "group": Cell(row["group"], {"head": 0.0, "mid": 1.0, "tail": 2.0}[row["group"]]),
            "support": _count(row["support"]),
            "train": _count(row["train_count"]),
            "threshold": _scored(row["threshold"]),
            "precision": _scored(row["precision"]),
            "recall": _scored(row["recall"]),
            "f1": Cell(_interval(row["f1"], row["f1_low"], row["f1_high"]), float(row["f1"])),
            "ap": Cell(_interval(row["ap"], row["ap_low"], row["ap_high"]), float(row["ap"])),
            "tp": _count(row["tp"]),
            "fp": _count(row["fp"]),
            "fn": _count(row["fn"]),
        }
        for row in per_class.to_dict("records")
    ]


def failing(per_class: pd.DataFrame) -> list[dict[str, str]]:
    """The weakest classes by F1 among those with enough images to tell, and what goes wrong with each."""
    rows = per_class[per_class["support"] >= RARE].sort_values("f1", kind="stable").head(WEAK)
    return [
        {
            "class": str(row["class_name"]),
            "f1": _interval(row["f1"], row["f1_low"], row["f1_high"]),
            "why": _reason(row),
        }
        for row in rows.to_dict("records")
    ]


def _reason(row: Mapping[Any, Any]) -> str:
    found, named = int(row["tp"]), int(row["tp"] + row["fp"])
    parts = f"finds {found} of {int(row['support'])}; right in {found} of {named} times it is named"
    if row["ap"] > row["f1"] + 0.15:
        return parts + ". It ranks better than it decides: look at its threshold"
    if row["recall"] < row["precision"] / 2:
        return parts + ". Mostly missed"
    if row["precision"] < row["recall"] / 2:
        return parts + ". Mostly named wrongly"
    return parts


def imbalance_rows(targets_NC: NDArray[np.uint8], class_names: Sequence[str]) -> list[tuple[str, str]]:
    """The data set's labels in a few numbers."""
    found = asdict(summarize(targets_NC, class_names))
    absent = ", ".join(found["absent_classes"]) or "none"
    return [
        ("images", f"{found['images']:,}"),
        ("images without a class", f"{found['empty_images']:,}"),
        ("classes", f"{found['classes']:,}"),
        ("classes per image", f"{found['labels_mean']:.2f} ({found['labels_min']} to {found['labels_max']})"),
        ("negatives per positive", _ratio(found["neg_pos"])),
        ("most : least frequent class", f"{_ratio(found['imbalance_ratio'])} : 1"),
        ("classes without an image", absent),
    ]


def pair_rows(targets_NC: NDArray[np.uint8], class_names: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """Given, then, P(then | given), images with both: the highest shares among classes with enough images."""
    counts_CC = cooccurrence(targets_NC)
    share_CC = np.nan_to_num(conditional(counts_CC))
    np.fill_diagonal(share_CC, 0.0)
    share_CC[np.diag(counts_CC) < RARE] = 0.0
    best = np.argsort(-share_CC, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(position), len(class_names)) for position in best]
    return [
        (class_names[i], class_names[j], f"{share_CC[i, j]:.2f}", f"{counts_CC[i, j]:,}")
        for i, j in pairs
        if share_CC[i, j] > 0
    ]


def flat_rows(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values under dotted keys."""
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            rows += flat_rows(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", "null" if value is None else str(value)))
    return rows


def score(value: float | None) -> str:
    """Three digits, halves rounded up as the page's script does; a dash where there is no number."""
    if value is None or math.isnan(value):
        return NONE
    return str(Decimal(float(value)).quantize(Decimal("0.001"), ROUND_HALF_UP))


def _interval(value: float, low: float, high: float) -> str:
    if math.isnan(low) or math.isnan(high):
        return score(value)
    return f"{score(value)} [{score(low)}, {score(high)}]"


def _count(value: float) -> Cell:
    return Cell(NONE if math.isnan(value) else f"{int(value):,}", float(value))


def _scored(value: float) -> Cell:
    return Cell(score(value), float(value))


def _ratio(value: float) -> str:
    return f"{value:,.1f}" if math.isfinite(value) else NONE
