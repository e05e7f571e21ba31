"""A comparison of runs in the terminal: means over seeds, differences, what they say."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from src.analysis.compare import Comparison
from src.report.figures.compare import NAMES
from src.report.tables import console

DECISIVE = ("map", "f1_micro_tuned", "f1_macro_tuned", "f1_tail_tuned")
"""Metrics that the sentences speak of."""


def print_comparison(found: Comparison, *, written: Sequence[Path]) -> None:
    """Print means, differences and notes, and where the files lie."""
    told = [f"  {sentence}" for sentence in verdict(found)]
    heading = [f"against {found.reference}"] if told else []
    notes = [f"note: {note}" for note in found.notes]
    lines = escape("\n".join([*heading, *told, *notes, *(f"written to {path}" for path in written)]))
    differences = [difference_rows(found)] if len(found.differences) else []
    console().print(Group(means_rows(found), *differences, lines))


def means_frame(found: Comparison) -> pd.DataFrame:
    """Mean ± sd over runs as text, a row per metric and a column per group: groups are few, their labels long."""
    columns = {
        f"{row['group']}, n = {row['n']}": [mean_sd(row, metric) for metric in NAMES]
        for row in found.groups.to_dict(orient="records")
    }
    return pd.DataFrame(columns, index=list(NAMES.values()))


def means_rows(found: Comparison) -> Table:
    """The same for the terminal."""
    title = f"{found.num_images:,} images of {found.split}, mean ± sd over runs"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    frame = means_frame(found)
    for heading in frame.columns:
        table.add_column(escape(heading), justify="right", overflow="fold")
    for name, row in frame.iterrows():
        table.add_row(str(name), *row)
    return table


def difference_rows(found: Comparison) -> Table:
    """Difference from the reference with its interval; a star where it leaves out 0."""
    covers = found.differences["covers"].iloc[0]
    title = f"difference from {escape(found.reference)}, {found.level:.0%} interval over {covers}; * leaves out 0"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    others = list(dict.fromkeys(found.differences["group"]))
    for group in others:
        table.add_column(escape(group), justify="right", overflow="fold")
    by_key = found.differences.set_index(["metric", "group"])
    for metric in NAMES:
        table.add_row(NAMES[metric], *(difference_text(by_key.loc[(metric, group)]) for group in others))
    return table


def mean_sd(row: Any, metric: str) -> str:
    """``0.6123 ± 0.0041``, the sd where there are two runs or more."""
    if math.isnan(row[metric]):
        return "-"
    sd = row[f"{metric}_sd"]
    return f"{row[metric]:.4f}" + ("" if math.isnan(sd) else f" ± {sd:.4f}")


def difference_text(row: Any) -> str:
    """``+0.0123 [+0.0040, +0.0207] *``."""
    if math.isnan(row["difference"]) or math.isnan(row["low"]):
        return "-"
    return f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]{' *' if row['clear'] else '  '}"


def verdict(found: Comparison) -> list[str]:
    """What the intervals say, a sentence per group.

    Args:
        found: the comparison.

    Returns:
        Such as ``loss=asl: mAP lower by 0.012; not told apart: macro-F1, tuned``; empty where there is one group.
    """
    sentences = []
    for group, table in found.differences.groupby("group", sort=False):
        rows = [row for row in table.to_dict(orient="records") if row["metric"] in DECISIVE]
        clear = [f"{NAMES[row['metric']]} {_moved(row['difference'])}" for row in rows if row["clear"]]
        open_ = [NAMES[row["metric"]] for row in rows if not row["clear"]]
        told = "; ".join([", ".join(clear)] * bool(clear) + [f"not told apart: {', '.join(open_)}"] * bool(open_))
        sentences.append(f"{group}: {told}")
    return sentences


def _moved(difference: float) -> str:
    return f"{'higher' if difference > 0 else 'lower'} by {abs(difference):.4f}"
