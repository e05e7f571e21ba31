"""What a threshold does: F1 over thresholds, the thresholds of the classes, their F1 with intervals."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from src.report.figures.style import (
    BLUE,
    GROUP_COLORS,
    GROUP_MARKERS,
    INK,
    MUTED,
    NORMAL,
    ORANGE,
    PAPER,
    SMALL,
    class_axis,
    dress,
    figure_legend,
    literal,
    new_figure,
)

GROUPS = tuple(GROUP_COLORS)


def f1_curves(curves: pd.DataFrame, *, global_threshold: float | None = None) -> Figure:
    """Micro and macro F1 over one threshold for all classes, with micro precision and recall behind them.

    Args:
        curves: of ``src.analysis.curves.overall_curves``.
        global_threshold: the fitted one, marked.
    """
    figure = new_figure(5.6, 4.6)
    axes = figure.add_subplot()
    lines = (
        ("precision_micro", "precision (micro)", MUTED, (0, (1, 1.5)), 1.0),
        ("recall_micro", "recall (micro)", MUTED, (0, (5, 2)), 1.0),
        ("f1_macro", "macro-F1", ORANGE, (0, (6, 2)), 2.0),
        ("f1_micro", "micro-F1", BLUE, "solid", 2.0),
    )
    for column, label, color, style, width in lines:
        axes.plot(curves["threshold"], curves[column], color=color, linestyle=style, linewidth=width, label=label)
    if global_threshold is not None:
        axes.axvline(global_threshold, color=INK, linewidth=0.9)
        axes.annotate(
            f"fitted {global_threshold:.3f}", (global_threshold, 1.0), xycoords=("data", "axes fraction"),
            xytext=(4, -2), textcoords="offset points", va="top", fontsize=NORMAL, color=INK,
        )  # fmt: skip
    dress(axes, xlabel="threshold, the same for all classes", ylabel="score")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    figure_legend(figure, axes, loc="outside lower center", ncols=2)
    return figure


def threshold_strip(per_class: pd.DataFrame, *, global_threshold: float) -> Figure:
    """The threshold of each class, one row for each frequency group.

    Args:
        per_class: ``class_name``, ``threshold``, ``group``.
        global_threshold: the one for all classes, drawn as a line.
    """
    figure = new_figure(11, 2.5)
    axes = figure.add_subplot()
    for level, group in enumerate(GROUPS):
        rows = per_class[per_class["group"] == group].sort_values("threshold", kind="stable")
        if not len(rows):
            continue
        spread = np.array([-0.16, 0.0, 0.16])[np.arange(len(rows)) % 3]
        axes.scatter(
            rows["threshold"], level + spread, s=30, marker=GROUP_MARKERS[group], facecolor=GROUP_COLORS[group],
            edgecolor=PAPER, linewidth=0.6, zorder=3,
        )  # fmt: skip
        _label_ends(axes, rows, level, spread)
    axes.axvline(global_threshold, color=INK, linewidth=1)
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    right = global_threshold >= 0.5
    for value, text, rightwards in (
        (global_threshold, f"all classes {global_threshold:.3f}", right),
        (0.5, "0.5", not right),
    ):
        axes.annotate(
            text, (value, -0.72), xytext=(4 if rightwards else -4, 0), textcoords="offset points", fontsize=NORMAL,
            color=INK, va="center", ha="left" if rightwards else "right",
        )  # fmt: skip
    dress(axes, xlabel="threshold", grid="x")
    axes.set_yticks(range(len(GROUPS)), GROUPS)
    axes.tick_params(axis="y", length=0, labelsize=NORMAL, labelcolor=INK)
    axes.set_ylim(len(GROUPS) - 0.45, -1)
    axes.set_xlim(-0.01, 1.01)
    return figure


def _label_ends(axes: Any, rows: pd.DataFrame, level: int, spread: Any) -> None:
    for end, offset, align in ((0, -6, "right"), (len(rows) - 1, 6, "left")):
        row = rows.iloc[end]
        crowded = row["threshold"] < 0.12 if end == 0 else row["threshold"] > 0.9
        if crowded or (end and len(rows) == 1):
            continue
        axes.annotate(
            literal(row["class_name"]), (row["threshold"], level + spread[end]), xytext=(offset, 0),
            textcoords="offset points", fontsize=SMALL, color=MUTED, ha=align, va="center",
        )  # fmt: skip


def class_intervals(per_class: pd.DataFrame) -> Figure:
    """F1 of each class with its interval, weakest first; a dash marks its F1 at 0.5.

    Args:
        per_class: ``class_name``, ``group``, ``support``, ``f1``, ``f1_low``, ``f1_high``, ``f1_at_half``; classes
            without support are left out.
    """
    rows = per_class[per_class["support"] > 0].sort_values("f1", kind="stable").reset_index(drop=True)
    figure = new_figure(11, 3.8)
    axes = figure.add_subplot()
    axes.vlines(rows.index, rows["f1_low"], rows["f1_high"], color=MUTED, linewidth=1.1, alpha=0.75, zorder=2)
    axes.plot(rows.index, rows["f1_at_half"], "_", color=INK, markersize=5, markeredgewidth=1.1, label="F1 at 0.5")
    for group, color in GROUP_COLORS.items():
        of_group = rows[rows["group"] == group]
        axes.plot(
            of_group.index, of_group["f1"], GROUP_MARKERS[group], color=color, markersize=5, markeredgecolor=PAPER,
            markeredgewidth=0.5, label=group, zorder=3,
        )  # fmt: skip
    if len(rows):
        mean = float(rows["f1"].mean())
        axes.axhline(mean, color=MUTED, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1)
        axes.annotate(
            f"mean {mean:.3f}", (-0.6, mean), xytext=(0, 3), textcoords="offset points", fontsize=NORMAL, color=INK
        )
    dress(axes, ylabel="F1 at the class's threshold", grid="y")
    axes.set_ylim(-0.03, 1.03)
    class_axis(axes, rows["class_name"])
    figure_legend(figure, axes, loc="outside upper right", ncols=4)
    return figure
