"""Runs beside one another: curves over epochs, differences with intervals, gains and losses per class."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.report.figures.style import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    MUTED,
    NORMAL,
    ORANGE,
    PAPER,
    PURPLE,
    SKY,
    SMALL,
    dress,
    figure_legend,
    literal,
    new_figure,
    no_data,
)

LOOKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "solid", "marker": "o"},
    {"color": ORANGE, "linestyle": (0, (5, 2)), "marker": "s"},
    {"color": GREEN, "linestyle": (0, (1, 1.2)), "marker": "^"},
    {"color": PURPLE, "linestyle": (0, (6, 2, 1, 2)), "marker": "D"},
    {"color": AMBER, "linestyle": (0, (3, 1.5)), "marker": "v"},
    {"color": SKY, "linestyle": (0, (8, 3)), "marker": "P"},
)
"""Told apart without colour by dash and marker; more groups than these are drawn grey."""
PANELS = (("map", "mAP"), ("f1_micro_tuned", "micro-F1 at fitted threshold"),
          ("f1_macro_tuned", "macro-F1 at fitted thresholds"), ("f1_tail", "F1 of the tail at 0.5"))  # fmt: skip
NAMES = {
    "map": "mAP", "f1_micro": "micro-F1 = OF1 at 0.5", "f1_macro": "macro-F1 at 0.5",
    "f1_micro_tuned": "tuned micro-F1", "f1_macro_tuned": "tuned macro-F1", "cf1": "CF1 at 0.5",
    "f1_head_tuned": "tuned F1 of head", "f1_mid_tuned": "tuned F1 of mid", "f1_tail_tuned": "tuned F1 of tail",
}  # fmt: skip
"""What the metrics are called in pictures and tables, which do not show ``of1``: it is micro-F1 under another name."""
SHORT = {
    "map": "mAP", "f1_micro": "micro-F1 = OF1", "f1_macro": "macro-F1", "f1_micro_tuned": "tuned micro-F1",
    "f1_macro_tuned": "tuned macro-F1", "cf1": "CF1", "f1_head_tuned": "tuned head",
    "f1_mid_tuned": "tuned mid", "f1_tail_tuned": "tuned tail",
}  # fmt: skip
"""For the heads of narrow columns."""
NOTHING = 1e-9
"""Differences of rounding."""


def overlaid_curves(curves: pd.DataFrame, *, named: Sequence[str]) -> Figure:
    """Score over the epochs, mAP and F1: a thick line for the mean of each group, thin ones for its runs.

    Args:
        curves: of ``src.analysis.compare.curve_table``: ``run``, ``group``, ``epoch``, ``metric``, ``value``; of the
            splits the holdout is drawn, or val for runs without one.
        named: groups drawn in colour, six at most; the others are grey.
    """
    split = "holdout" if curves["metric"].str.startswith("holdout/").any() else "val"
    figure = new_figure(11, 5.8 + 0.17 * min(len(named), len(LOOKS)))
    panels = figure.subplots(2, 2).ravel()
    for axes, (metric, title) in zip(panels, PANELS, strict=True):
        rows = curves[curves["metric"] == f"{split}/{metric}"]
        for group in [name for name in rows["group"].unique() if name not in named]:
            _run_lines(axes, rows[rows["group"] == group], color=MUTED, linewidth=0.7, alpha=0.5, zorder=1)
        for group, look in zip(named, LOOKS, strict=False):
            _group_line(axes, rows[rows["group"] == group], group, look)
        dress(axes, title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        if not len(rows):
            no_data(axes, "not recorded")
        elif not rows["value"].any():
            axes.set_ylim(0, 1)
    figure.suptitle(f"scores of {split}", fontsize=NORMAL, color=MUTED, x=0.01, ha="left")
    figure_legend(figure, panels[0], loc="outside lower left", ncols=1)
    return figure


def _group_line(axes: Axes, rows: pd.DataFrame, group: str, look: dict[str, Any]) -> None:
    if not len(rows):
        return
    runs = rows["run"].nunique()
    mean = rows.groupby("epoch")["value"].mean()
    if runs > 1:
        _run_lines(axes, rows, color=look["color"], linewidth=0.8, alpha=0.45, zorder=2)
    size = 4 if len(mean) <= 30 else 0
    label = literal(group) + (f" (mean of {runs} runs)" if runs > 1 else "")
    axes.plot(mean.index, mean, label=label, linewidth=2, markersize=size, markeredgecolor=PAPER, zorder=3, **look)


def _run_lines(axes: Axes, rows: pd.DataFrame, **look: Any) -> None:
    for _, run in rows.groupby("run", sort=False):
        axes.plot(run["epoch"], run["value"], **look)


def difference_intervals(differences: pd.DataFrame, *, named: Sequence[str], level: float) -> Figure:
    """Difference from the reference with its interval, a row per metric; filled where the interval leaves out 0.

    Args:
        differences: of ``src.analysis.compare.difference_table``.
        named: groups drawn, six at most; the reference among them keeps its look for other pictures.
        level: of the intervals, for the axis.
    """
    metrics = [metric for metric in dict.fromkeys(differences["metric"]) if metric in NAMES]
    shown = [(group, look) for group, look in zip(named, LOOKS, strict=False) if (differences["group"] == group).any()]
    figure = new_figure(11, 1.1 + len(metrics) * (0.2 + 0.13 * max(len(shown), 1)) + 0.17 * len(shown))
    axes = figure.add_subplot()
    if not shown:
        no_data(axes, "one group: nothing to compare it with")
        return figure
    axes.axvline(0, color=INK, linewidth=1)
    for position, (group, look) in enumerate(shown):
        rows = differences[differences["group"] == group].set_index("metric").loc[metrics]
        height = [place + 0.68 * ((position + 0.5) / len(shown) - 0.5) for place in range(len(metrics))]
        axes.hlines(height, rows["low"], rows["high"], color=look["color"], linewidth=1.4)
        _points(axes, rows, height, look["color"], look["marker"])
        axes.plot([], [], color=look["color"], marker=look["marker"], linewidth=1.4, label=literal(group))
    for place in range(1, len(metrics)):
        axes.axhline(place - 0.5, color=MUTED, linewidth=0.3, alpha=0.5)
    reference = literal(str(differences["reference"].iloc[0]))
    dress(
        axes, xlabel=f"difference from {reference}, {level:.0%} interval; filled: the interval leaves out 0", grid="x"
    )
    axes.set_yticks(range(len(metrics)), [NAMES[metric] for metric in metrics])
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=NORMAL)
    axes.set_ylim(len(metrics) - 0.5, -0.5)
    figure_legend(figure, axes, loc="outside lower left", ncols=1)
    return figure


def class_differences(classes: pd.DataFrame, *, group: str, metric: str = "f1", most: int = 12) -> Figure:
    """The classes that gained and that lost most, with intervals; filled where the interval leaves out 0.

    Args:
        classes: of ``src.analysis.compare.class_changes``.
        group: whose gains.
        metric: ``ap`` or ``f1``.
        most: classes on each side.
    """
    rows = classes[(classes["group"] == group) & (classes["metric"] == metric)]
    rows = rows.sort_values("difference", ascending=False, kind="stable")
    gains, losses = (
        rows[rows["difference"] > NOTHING].head(most),
        rows[rows["difference"] < -NOTHING].iloc[::-1].head(most),
    )
    figure = new_figure(11, 1.3 + 0.2 * max(len(gains), len(losses), 3))
    for axes, part, title, color in zip(
        figure.subplots(1, 2), (gains, losses), ("gained", "lost"), (BLUE, ORANGE), strict=True
    ):
        place = list(range(len(part)))
        axes.axvline(0, color=INK, linewidth=1)
        axes.hlines(place, part["low"], part["high"], color=color, linewidth=1.4)
        _points(axes, part, place, color, "o" if title == "gained" else "s")
        name = "average precision" if metric == "ap" else "F1 at own thresholds"
        dress(axes, title=title, xlabel=f"difference in {name}", grid="x")
        labels = [f"{literal(name)}  ({n:,})" for name, n in zip(part["class_name"], part["positives"], strict=True)]
        axes.set_yticks(place, labels, fontsize=SMALL + 0.5)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(max(len(part), 3) - 0.4, -0.6)
        if not len(part):
            no_data(axes, f"no class {title}")
    return figure


def _points(axes: Axes, rows: pd.DataFrame, height: Sequence[float], color: Any, marker: Any) -> None:
    for x, y, clear in zip(rows["difference"], height, rows["clear"], strict=True):
        axes.plot([x], [y], marker, color=color, markerfacecolor=color if clear else PAPER, markersize=5.5, zorder=3)
