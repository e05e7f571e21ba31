"""Whether a score of 0.8 is right eight times out of ten."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from src.report.figures.style import BLUE, INK, MUTED, NORMAL, ORANGE, dress, new_figure, no_data


def reliability_diagram(table: pd.DataFrame, *, calibrated: pd.DataFrame | None = None) -> Figure:
    """Share of true labels against the mean score of each bin; below, how many decisions the bin holds (log scale).

    Args:
        table: ``bin_low``, ``bin_high``, ``count``, ``mean_score``, ``frequency``; empty bins are left out.
        calibrated: the same after calibration, drawn beside it.
    """
    rows = table[table["count"] > 0]
    figure = new_figure(5.6, 4.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    if calibrated is None:  # the legend has the word otherwise
        above.annotate("calibrated", (0.34, 0.36), fontsize=NORMAL, color=MUTED, rotation=33, ha="center", va="bottom")
    if len(rows):
        above.vlines(
            rows["mean_score"], rows[["mean_score", "frequency"]].min(axis=1),
            rows[["mean_score", "frequency"]].max(axis=1), color=MUTED, linewidth=1,
        )  # fmt: skip
        line = {"linewidth": 1.6, "markersize": 4.5}
        above.plot(rows["mean_score"], rows["frequency"], "o-", color=BLUE, label="as scored", **line)
        if calibrated is not None:
            after = calibrated[calibrated["count"] > 0]
            above.plot(after["mean_score"], after["frequency"], "s--", color=ORANGE, label="calibrated", **line)
            above.legend(loc="upper left", frameon=False, fontsize=NORMAL)
        middle = (rows["bin_low"] + rows["bin_high"]) / 2
        below.bar(middle, rows["count"], width=(rows["bin_high"] - rows["bin_low"]) * 0.9, color=BLUE)
        below.set_yscale("log")
        below.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    else:
        no_data(above, "no scores")
    dress(above, ylabel="share that has the class")
    dress(below, xlabel="score", ylabel="decisions", grid="y")
    below.yaxis.label.set_color(INK)
    above.set_xlim(-0.01, 1.01)
    above.set_ylim(-0.02, 1.02)
    figure.align_ylabels()
    return figure
