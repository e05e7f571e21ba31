"""A comparison of runs as one page that needs no other file."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from src.analysis.compare import Comparison
from src.report.compare import DECISIVE, difference_text, verdict
from src.report.figures.compare import LOOKS, SHORT, class_differences, difference_intervals, overlaid_curves
from src.report.figures.style import to_svg

ASSETS = Path(__file__).parent / "assets"
CLASSES_SHOWN = 12
"""Gains, and losses, that the page lists; classes.csv has all."""


def comparison_page(found: Comparison) -> str:
    """The page; the same text for the same comparison."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    named = in_colour(found)
    return environment.get_template("compare.html.j2").render(
        found=found,
        style=Markup((ASSETS / "report.css").read_text()),
        verdict=verdict(found),
        metrics=list(SHORT.values()),
        means=_means(found),
        differences=_differences(found),
        options=_options(found),
        groups=list(found.groups["group"]),
        runs=found.runs.to_dict(orient="records"),
        run_metrics={metric: SHORT[metric] for metric in DECISIVE},
        curves=_svg(overlaid_curves(found.curves, named=named), "curves", "Scores over the epochs, a line per group."),
        intervals=_intervals(found, named),
        classes=[_classes(found, group) for group in named if group != found.reference],
        uncoloured=len(found.groups) - len(named),
    )


def in_colour(found: Comparison) -> list[str]:
    """The groups that pictures draw in colour: the reference, and of the others those of highest mAP."""
    others = found.groups[found.groups["group"] != found.reference].sort_values("map", ascending=False, kind="stable")
    return [found.reference, *others["group"]][: len(LOOKS)]


def _means(found: Comparison) -> list[dict[str, Any]]:
    """A row per group: label, number of runs, and per metric mean, sd and whether the mean is the highest."""
    several = len(found.groups) > 1
    best = found.groups[list(SHORT)].max()
    return [
        {
            "group": row["group"],
            "n": row["n"],
            "cells": [
                (_digits(row[metric]), _digits(row[f"{metric}_sd"], ""), several and 0 < row[metric] == best[metric])
                for metric in SHORT
            ],
        }
        for row in found.groups.to_dict(orient="records")
    ]


def _differences(found: Comparison) -> list[dict[str, Any]]:
    """A row per group: label, and per metric the difference, its interval and its kind."""
    return [
        {
            "group": group,
            "cells": [_difference(row) for row in rows.to_dict(orient="records") if row["metric"] in SHORT],
        }
        for group, rows in found.differences.groupby("group", sort=False)
    ]


def _difference(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    if math.isnan(row["low"]):
        return "-", "", ""
    kind = ("gain" if row["difference"] > 0 else "loss") if row["clear"] else ""
    return f"{row['difference']:+.3f}", f"[{row['low']:+.3f}, {row['high']:+.3f}]", kind


def _options(found: Comparison) -> list[dict[str, Any]]:
    groups = list(found.groups["group"])
    rows = found.options.to_dict(orient="records")
    return [{"key": row["key"], "values": [row[group] for group in groups]} for row in rows]


def _digits(value: float, nothing: str = "-") -> str:
    return nothing if math.isnan(value) else f"{value:.4f}"


def _intervals(found: Comparison, named: Sequence[str]) -> Markup:
    if not len(found.differences):
        return Markup("")
    figure = difference_intervals(found.differences, named=named, level=found.level)
    return _svg(
        figure, "differences", f"Difference of each group from {found.reference} with its interval, per metric."
    )


def _classes(found: Comparison, group: str) -> dict[str, Any]:
    """Picture and tables of one group's classes."""
    number = list(found.groups["group"]).index(group)
    text = f"Classes of {group} that gained and lost most against {found.reference}; the numbers are below."
    tables = []
    for metric, name in (("f1", "F1 at own thresholds"), ("ap", "average precision")):
        rows = found.classes[(found.classes["group"] == group) & (found.classes["metric"] == metric)]
        tables.append({"name": name, "rows": _extremes(rows)})
    figure = class_differences(found.classes, group=group, most=CLASSES_SHOWN)
    return {"group": group, "figure": _svg(figure, f"classes-{number}", text), "tables": tables}


def _extremes(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    """Largest gains, then largest losses, largest first within each."""
    rows = rows.sort_values("difference", ascending=False, kind="stable")
    if len(rows) > 2 * CLASSES_SHOWN:
        rows = pd.concat([rows.head(CLASSES_SHOWN), rows.tail(CLASSES_SHOWN)])
    return [{**row, "text": difference_text(row)} for row in rows.to_dict(orient="records")]


def _svg(figure: Any, name: str, description: str) -> Markup:
    return Markup(to_svg(figure, name=name, description=description))
