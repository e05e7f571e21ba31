"""Curves over epochs, and precision against recall."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.report.figures.style import (
    BLUE,
    GRID,
    GROUP_COLORS,
    GROUP_MARKERS,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SMALL,
    dress,
    figure_legend,
    legend,
    literal,
    new_figure,
    no_data,
)

SPLIT_LINES: dict[str, dict[str, Any]] = {
    "train": {"color": ORANGE, "linestyle": (0, (5, 2)), "marker": "s"},
    "holdout": {"color": BLUE, "linestyle": "solid", "marker": "o"},
    "val": {"color": PURPLE, "linestyle": (0, (2, 1.5)), "marker": "D"},
}
PANELS = (
    ("loss", (("loss", ""),)),
    ("mAP", (("map", ""),)),
    ("learning rate", ()),
    ("micro-F1", (("f1_micro", ""), ("f1_micro_tuned", " at fitted threshold"))),
    ("macro-F1", (("f1_macro", ""), ("f1_macro_tuned", " at fitted thresholds"))),
    ("F1 at 0.5 by frequency", ()),
)


def epoch_curves(records: Sequence[Mapping[str, Any]], *, best_epoch: int | None = None) -> Figure:
    """Loss, mAP, learning rate, micro and macro F1, F1 of head, mid and tail over the epochs.

    Args:
        records: one per epoch, as in metrics.jsonl: ``epoch``, ``lr``, ``train/loss``, ``holdout/map``, …; what a
            record lacks is left out.
        best_epoch: counted from 0 as in the records; marked.
    """
    figure = new_figure(11, 5.2)
    panels = figure.subplots(2, 3).ravel()
    table = pd.DataFrame(list(records))
    for axes, (title, keys) in zip(panels, PANELS, strict=True):
        if title == "learning rate":
            _line(axes, table, "lr", color=INK, linestyle="solid", marker="o", label="")
        elif not keys:
            _group_lines(axes, table)
        else:
            _split_lines(axes, table, keys)
        dress(axes, title=title, xlabel="epoch")
        _finish_panel(axes, len(table), best_epoch)
    return figure


def _finish_panel(axes: Axes, epochs: int, best_epoch: int | None) -> None:
    if not axes.lines:
        no_data(axes, "not recorded")
        return
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    if best_epoch is not None:
        axes.axvline(best_epoch + 1, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    if epochs > 1:
        axes.margins(x=0.03)
    if any(not str(line.get_label()).startswith("_") for line in axes.lines):
        legend(axes, loc="best")


def _split_lines(axes: Axes, table: pd.DataFrame, keys: Sequence[tuple[str, str]]) -> None:
    for split, look in SPLIT_LINES.items():
        for key, addition in keys:
            thin: dict[str, Any] = {"linewidth": 1.0, "alpha": 0.75, "fillstyle": "none"} if addition else {}
            _line(axes, table, f"{split}/{key}", label=split + addition, **look, **thin)


def _group_lines(axes: Axes, table: pd.DataFrame) -> None:
    split = next((name for name in ("holdout", "val") if f"{name}/f1_head" in table), "train")
    for group, dash in zip(GROUP_COLORS, ("solid", (0, (5, 2)), (0, (2, 1.5))), strict=True):
        _line(
            axes, table, f"{split}/f1_{group}", color=GROUP_COLORS[group], marker=GROUP_MARKERS[group], linestyle=dash,
            label=f"{group} ({split})",
        )  # fmt: skip


def _line(axes: Axes, table: pd.DataFrame, column: str, *, label: str, **look: Any) -> None:
    if column not in table:
        return
    rows = table[["epoch", column]].dropna()
    size = 3.5 if len(rows) <= 30 else 0.0
    axes.plot(rows["epoch"] + 1, rows[column], markersize=size, label=label or "_", **{"linewidth": 1.6, **look})


def pr_curves(micro: pd.DataFrame, per_class: Mapping[str, pd.DataFrame], *, named: Sequence[str] = ()) -> Figure:
    """Precision against recall: all decisions pooled, and each class as a thin line.

    Lines of equal F1 lie behind them.

    Args:
        micro: of ``src.analysis.curves.pr_curve`` over all classes pooled.
        per_class: the same for each class; empty tables are left out.
        named: classes whose line is labelled at its end.
    """
    figure = new_figure(5.6, 4.6)
    axes = figure.add_subplot()
    _equal_f1(axes)
    if len(micro):
        axes.plot(
            micro["recall"], micro["precision"], color=INK, linewidth=2.2, zorder=4, label="all decisions (micro)"
        )
    lines = [table[["recall", "precision"]].to_numpy(float) for table in per_class.values() if len(table)]
    axes.add_collection(LineCollection(lines, colors=MUTED, linewidths=0.6, alpha=0.45, label="each class"))
    colors = (BLUE, ORANGE, PURPLE)
    for position, name in enumerate(named):
        curve = per_class[name]
        if not len(curve):
            continue
        dash = ("solid", (0, (5, 2)), (0, (2, 1.5)))[position % 3]
        axes.plot(
            curve["recall"], curve["precision"], color=colors[position % 3], linewidth=1.3, linestyle=dash,
            label=literal(name),
        )  # fmt: skip
    dress(axes, xlabel="recall", ylabel="precision", grid="none")
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.01)
    figure_legend(figure, axes, loc="outside lower center", ncols=3)
    return figure


def _equal_f1(axes: Axes) -> None:
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 60)
        precision = f1 * recall / (2 * recall - f1)
        axes.plot(recall, precision, color=GRID, linewidth=0.9, zorder=0, label="_")
        axes.annotate(
            f"F1 {f1}", (1.0, precision[-1]), fontsize=SMALL, color=MUTED, va="center",
            xytext=(4, 0), textcoords="offset points",
        )  # fmt: skip
