"""How uneven the classes are, which come together, and what that does to their scores."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from src.report.figures.style import (
    BLUE,
    GROUP_COLORS,
    GROUP_MARKERS,
    INK,
    MUTED,
    NORMAL,
    PAPER,
    SMALL,
    class_axis,
    dress,
    figure_legend,
    literal,
    new_figure,
)

LABELLED = 10


def class_counts(table: pd.DataFrame) -> Figure:
    """Images per class on a logarithmic axis, most frequent first, coloured and hatched by group.

    Args:
        table: of ``src.analysis.imbalance.class_table``: ``class_name``, ``count``, ``group``.
    """
    rows = table.sort_values("count", ascending=False, kind="stable")
    figure = new_figure(11, 3.6)
    axes = figure.add_subplot()
    colors = [GROUP_COLORS[group] for group in rows["group"]]
    axes.bar(range(len(rows)), rows["count"], color=colors, width=0.82)
    dress(axes, ylabel="images (log scale)", grid="y")
    axes.set_yscale("log")
    axes.set_ylim(0.7, 2.2 * max(int(rows["count"].max()), 1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    class_axis(axes, rows["class_name"])
    _name_groups(axes, list(rows["group"]))
    return figure


def _name_groups(axes: Axes, groups: Sequence[str]) -> None:
    """Write each group's name above its stretch of bars, which says without colour what the colour says."""
    for group, color in GROUP_COLORS.items():
        if group not in groups:
            continue
        first, last = groups.index(group), len(groups) - 1 - groups[::-1].index(group)
        top = axes.get_xaxis_transform()
        axes.plot([first - 0.4, last + 0.4], [0.97, 0.97], color=color, linewidth=2.5, transform=top)
        axes.annotate(
            group, ((first + last) / 2, 0.955), xycoords=top, ha="center", va="top", fontsize=NORMAL, color=INK
        )


def labels_per_image(targets_NC: NDArray[np.uint8]) -> Figure:
    """Histogram of the number of classes an image has.

    Args:
        targets_NC: multi-hot.
    """
    images_K = np.bincount(targets_NC.sum(axis=1, dtype=np.int64))
    figure = new_figure(5.6, 3.2)
    axes = figure.add_subplot()
    axes.bar(range(len(images_K)), images_K, color=BLUE, width=0.82)
    mean = float((images_K * np.arange(len(images_K))).sum() / max(images_K.sum(), 1))
    axes.axvline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"mean {mean:.2f}", (mean, 0.97), xycoords=("data", "axes fraction"), xytext=(4, 0),
        textcoords="offset points", fontsize=NORMAL, color=INK, va="top",
    )  # fmt: skip
    dress(axes, xlabel="classes per image", ylabel="images", grid="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    return figure


def cooccurrence_heatmap(share_CC: NDArray[np.float64], class_names: Sequence[str], *, most: int = 80) -> Figure:
    """P(column | row): of the images with the row's class, the share that also has the column's.

    Args:
        share_CC: of ``src.analysis.labels.conditional``; rows of absent classes are nan.
        class_names: the C names.
        most: classes drawn; beyond, those that others come with most often.
    """
    kept = np.arange(len(class_names))
    if len(kept) > most:
        popularity_C = np.nan_to_num(share_CC).sum(axis=0)
        kept = np.sort(np.argsort(-popularity_C, kind="stable")[:most])
    names = [literal(class_names[c]) for c in kept.tolist()]
    shown = share_CC[np.ix_(kept, kept)].copy()
    np.fill_diagonal(shown, np.nan)
    side = max(4.2, min(2.4 + 0.115 * len(kept), 11.6))
    figure = new_figure(side, side * 0.93)
    axes = figure.add_subplot()
    image = axes.imshow(shown, cmap="cividis", norm=PowerNorm(0.5, 0, 1), interpolation="nearest", aspect="equal")
    dress(axes, xlabel="… also have this class", ylabel="of the images with this class …", grid="none")
    size = SMALL - 1 if len(names) > 40 else NORMAL - 0.5
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, aspect=30, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=NORMAL - 0.5, colors=MUTED, length=2)
    bar.set_label("share of images", fontsize=NORMAL, color=INK)
    return figure


def frequency_scatter(per_class: pd.DataFrame, *, count: str = "train_count") -> Figure:
    """AP and F1 of each class against the images that it was trained on.

    Args:
        per_class: ``class_name``, ``group``, ``ap``, ``f1`` and ``count``; classes without support are left out.
        count: column of the horizontal axis.
    """
    shown = per_class[(per_class["support"] > 0) & (per_class[count] > 0)]
    figure = new_figure(11, 4.0)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, column, title in ((left, "ap", "average precision"), (right, "f1", "F1 at the class's threshold")):
        for group, color in GROUP_COLORS.items():
            rows = shown[shown["group"] == group]
            axes.scatter(
                rows[count], rows[column], s=22, marker=GROUP_MARKERS[group], facecolor=color, edgecolor=PAPER,
                linewidth=0.5, label=group, zorder=3,
            )  # fmt: skip
        dress(axes, title=title, xlabel="training images (log scale)")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(base=10))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(-0.03, 1.03)
        _label_outliers(axes, shown[count].to_numpy(float), shown[column].to_numpy(float), list(shown["class_name"]))
    figure_legend(figure, left, loc="outside upper right", ncols=3)
    return figure


def _label_outliers(axes: Axes, x_P: NDArray[np.float64], y_P: NDArray[np.float64], names: Sequence[str]) -> None:
    """Name the classes furthest from the trend over log frequency, as far as their names do not overlap."""
    if len(x_P) < 3 or np.ptp(x_P) == 0:
        return
    log_P = np.log10(x_P)
    distance_P = np.abs(y_P - np.polyval(np.polyfit(log_P, y_P, 1), log_P))
    width = 0.4 * np.ptp(log_P)
    placed: list[tuple[float, float]] = []
    for p in np.argsort(-distance_P, kind="stable").tolist():
        if len(placed) == LABELLED:
            break
        near = any(abs(log_P[p] - x) < width and abs(y_P[p] - y) < 0.045 for x, y in placed)
        if near:
            continue
        placed.append((float(log_P[p]), float(y_P[p])))
        leftwards = log_P[p] > log_P.min() + 0.75 * np.ptp(log_P)
        axes.annotate(
            literal(names[p]), (x_P[p], y_P[p]), xytext=(-5 if leftwards else 5, 0), textcoords="offset points",
            fontsize=SMALL, color=MUTED, ha="right" if leftwards else "left", va="center",
        )  # fmt: skip
