"""A sweep at a glance: which key mattered, how the search went, which values went with a good objective."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from src.report.figures.style import (
    BLUE,
    INK,
    MUTED,
    NORMAL,
    ORANGE,
    PAPER,
    SMALL,
    dress,
    legend,
    literal,
    new_figure,
    no_data,
)

LOG_RATIO = 50.0
"""Largest over smallest value from which an axis of positive numbers is logarithmic."""
TEXTS_SHOWN, NUMBERS_SHOWN = 12, 5
"""Different values up to which an axis names each of them."""
_DARK = "#08519c"
LEAST_GAP = 0.05
"""Between two labels of an axis, as a share of its height."""
UNSET = -0.12
"""Height at which a line passes the axis of a key that its job does not have."""


def sweep_figure(
    table: pd.DataFrame,
    keys: Sequence[str],
    effects: pd.DataFrame,
    *,
    objective: str,
    history: bool = False,
) -> Figure:
    """Importance of the keys above, parallel coordinates below; with the order of the jobs between them if asked for.

    Args:
        table: as ``src.analysis.sweeps.sweep_table`` makes it.
        keys: its swept keys.
        effects: as ``src.analysis.sweeps.main_effects`` makes it.
        objective: name of the objective, e.g. ``holdout/map``.
        history: jobs are numbered in the order in which they began: also draw the objective over it.
    """
    width = max(8.5, 1.6 * (len(keys) + 1))
    upper = max(2.2, 0.28 * len(keys) + 1.0)
    figure = new_figure(width, upper + 4.0)
    grid = figure.add_gridspec(2, 2 if history else 1, height_ratios=[upper, 4.0])
    draw_importance(figure.add_subplot(grid[0, 0]), effects, jobs=int((table["status"] == "finished").sum()))
    if history:
        draw_history(figure.add_subplot(grid[0, 1]), table, objective=objective)
    draw_parallel(figure.add_subplot(grid[1, :]), table, keys, objective=objective)
    return figure


def draw_importance(axes: Axes, effects: pd.DataFrame, *, jobs: int) -> None:
    """A bar per key, its share of the objective's variance; a tick where a key without effect would lie by chance."""
    dress(axes, title=f"What explains the objective ({jobs} finished jobs)", xlabel="share of its variance", grid="x")
    axes.set_xlim(0, 1)
    if effects.empty:
        axes.set(xticks=[], yticks=[], xlabel="")
        no_data(axes, "too few finished jobs, or no value that repeats")
        return
    shares, rows = effects["share"].to_numpy(), np.arange(len(effects))[::-1]
    axes.barh(rows, shares, height=0.62, color=BLUE)
    axes.scatter(effects["chance"], rows, marker="|", s=160, color=ORANGE, linewidths=1.8, label="by chance", zorder=3)
    axes.tick_params(axis="y", length=0)
    fewer = {
        key: f" ({count} jobs)" for key, count in zip(effects["key"], effects["jobs"], strict=True) if count < jobs
    }
    axes.set_yticks(rows, [literal(key + fewer.get(key, "")) for key in effects["key"]])
    axes.set_ylim(min(-0.6, len(effects) - 3.6), len(effects) - 0.4)
    for row, share in zip(rows, shares, strict=True):
        inside = share > 0.85
        axes.text(
            share - 0.01 if inside else share + 0.012, row, f"{share:.2f}", va="center",
            ha="right" if inside else "left", fontsize=NORMAL, color="white" if inside else INK,
        )  # fmt: skip
    legend(axes, loc="lower right", handletextpad=0.1)


def draw_history(axes: Axes, table: pd.DataFrame, *, objective: str) -> None:
    """Objective of each job by its number, and the best of the finished ones so far."""
    dress(axes, title="How the search went", xlabel="trial", ylabel=objective)
    numbers = pd.to_numeric(table["job"].str.extract(r"^(\d+)", expand=False))
    known = table.assign(number=numbers)[np.isfinite(table["objective"]) & numbers.notna()].sort_values("number")
    finished, rest = known[known["status"] == "finished"], known[known["status"] != "finished"]
    if known.empty:
        no_data(axes, "no trial has an objective yet")
        return
    axes.scatter(finished["number"], finished["objective"], s=22, color=BLUE, label="finished", zorder=3)
    if len(rest):
        axes.scatter(rest["number"], rest["objective"], s=20, color=MUTED, marker="x", label="stopped early")
    if len(finished):
        best = finished["objective"].cummax()
        axes.step(finished["number"], best, where="post", color=ORANGE, linewidth=1.4, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=3, columnspacing=1.2, handletextpad=0.4)


def draw_parallel(axes: Axes, table: pd.DataFrame, keys: Sequence[str], *, objective: str) -> None:
    """A line per job through its values, the objective last; finished jobs in colour, the best one thick.

    Axes of texts are ordered by the mean objective of a value. A line below an axis has no value for that key.
    """
    shown = table[np.isfinite(table["objective"])]
    dress(axes, title="Values and objective of each job", grid="none")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_yticks([])
    if shown.empty:
        axes.set_xticks([])
        no_data(axes, "no job has an objective yet")
        return
    places_KN = np.array([_axis(axes, x, shown[key], shown) for x, key in enumerate([*keys, "objective"])])
    names = [literal(name) for name in (*keys, objective)]
    axes.set_xticks(range(len(names)), names, color=INK, fontsize=NORMAL)
    axes.tick_params(axis="x", length=0, pad=4)
    axes.set_xlim(-0.35, len(names) - 0.65)
    axes.set_ylim(UNSET - 0.05, 1.06)
    finished_N = (shown["status"] == "finished").to_numpy()
    objective_N = shown["objective"].to_numpy()
    best = int(np.argmax(np.where(finished_N, objective_N, -np.inf))) if finished_N.any() else -1
    colors_N4 = _colors(objective_N, finished_N)
    for n in range(len(shown)):
        style: dict[str, Any] = {"color": colors_N4[n], "linewidth": 1.3, "zorder": 2.0}
        if not finished_N[n]:
            style = {"color": MUTED, "linewidth": 0.8, "alpha": 0.7, "linestyle": "--", "zorder": 1.0}
        if n == best:
            label = f"best: {literal(shown['job'].iloc[n])}"
            style = {"color": ORANGE, "linewidth": 2.6, "zorder": 3.0, "label": label}
        axes.plot(range(len(names)), places_KN[:, n], **style)
    axes.plot([], [], color=_DARK, linewidth=1.3, label="finished; the darker, the better")
    if not finished_N.all():
        axes.plot([], [], color=MUTED, linewidth=0.8, linestyle="--", label="stopped early")
    legend(axes, loc="upper left", bbox_to_anchor=(0.0, -0.08), ncols=3)


def _colors(objective_N: NDArray[np.float64], finished_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Dark for a good objective among the finished jobs, never as light as paper; [N, 4]."""
    known = objective_N[finished_N] if finished_N.any() else objective_N
    spread = known.max() - known.min()
    share_N = np.clip((objective_N - known.min()) / spread, 0, 1) if spread > 0 else np.ones(len(objective_N))
    return np.asarray(mpl.colormaps["Blues"](0.3 + 0.7 * share_N))


def _axis(axes: Axes, x: int, values: pd.Series, shown: pd.DataFrame) -> NDArray[np.float64]:
    """Draw one upright axis with its ticks; returns the height of each job on it, [N]."""
    axes.plot([x, x], [0, 1], color=MUTED, linewidth=0.8, zorder=0)
    numeric = pd.api.types.is_numeric_dtype(values)
    heights_N, labels = _numbers(values) if numeric else _texts(values, shown)
    if values.isna().any():
        labels[UNSET] = "not set"
    box = {"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.8}
    for height, text in labels.items():
        place: dict[str, Any] = {"x": x, "ha": "center"} if height == UNSET else {"x": x + 0.03, "ha": "left"}
        axes.text(y=height, s=text, fontsize=SMALL, color=INK, va="center", zorder=4, bbox=box, **place)
    return np.where(np.isnan(heights_N), UNSET, heights_N)


def _numbers(values: pd.Series) -> tuple[NDArray[np.float64], dict[float, str]]:
    """Heights in [0, 1], and the label at some of them."""
    distinct = np.unique(values.dropna().to_numpy(dtype=np.float64))
    low, high = distinct[0], distinct[-1]
    log = low > 0 and high / low >= LOG_RATIO
    ends = np.log([low, high]) if log else np.array([low, high])

    def height(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = np.log(numbers) if log else numbers
        return (scaled - ends[0]) / (ends[1] - ends[0]) if high > low else np.where(np.isnan(numbers), np.nan, 0.5)

    middle = np.exp(ends.mean()) if log else ends.mean()
    apart = np.diff(height(distinct)).min(initial=1.0) >= LEAST_GAP
    named = distinct if len(distinct) <= NUMBERS_SHOWN and apart else np.array([low, middle, high])
    labels = {float(place): f"{number:.3g}" for place, number in zip(height(named), named, strict=True)}
    return height(values.to_numpy(dtype=np.float64)), labels


def _texts(values: pd.Series, shown: pd.DataFrame) -> tuple[NDArray[np.float64], dict[float, str]]:
    """Heights in (0, 1) by the mean objective of finished jobs, and the label at each or at the first and last."""
    finished = shown["objective"].where(shown["status"] == "finished")
    means = finished.groupby(values).mean().sort_values(na_position="first")
    order = list(means.index)
    place = {value: (i + 0.5) / len(order) for i, value in enumerate(order)}
    named = order if len(order) <= TEXTS_SHOWN else [order[0], order[-1]]
    return values.map(place).to_numpy(dtype=np.float64), {place[value]: literal(str(value)) for value in named}
