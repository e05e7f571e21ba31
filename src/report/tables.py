"""Tables for the terminal: how a run ended."""

import math
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

SCORE_COLUMNS = (("mAP", "map"), ("micro-F1", "f1_micro"), ("macro-F1", "f1_macro"))

TableRow = Mapping[str, tuple[float, tuple[float, float] | None]]
"""Score by key: its value, and where known the ends of its interval."""


def console() -> Console:
    """Standard output; wide enough for paths where it is not a terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=160, highlight=False)


def closing_table(rows: Mapping[str, TableRow], *, title: str) -> Table:
    """Scores per way of deciding.

    Args:
        rows: label to ``map``, ``f1_micro``, ``f1_macro`` (those it has), each a value and its interval or None.
        title: shown above.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for header, _ in SCORE_COLUMNS:
        table.add_column(header, justify="right")
    for label, scores in rows.items():
        table.add_row(label, *(_with_interval(scores.get(key)) for _, key in SCORE_COLUMNS))
    return table


def metrics_table(metrics: Mapping[str, float], *, title: str, columns: int = 3) -> Table:
    """Every metric of one split, read down and then across.

    Args:
        metrics: value by name.
        title: shown above.
        columns: names and values side by side.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    for _ in range(columns):
        table.add_column("metric")
        table.add_column("value", justify="right")
    cells = [(key, _score(value)) for key, value in metrics.items()]
    height = -(-len(cells) // columns)
    for row in range(height):
        table.add_row(*(text for cell in cells[row::height] for text in cell))
    return table


def _with_interval(found: tuple[float, tuple[float, float] | None] | None) -> str:
    """Ends are rounded outwards: a score of four digits would else stand outside of an interval that it ends."""
    if found is None:
        return "-"
    value, ends = found
    return f"{value:.4f}" + (f" [{_down(ends[0]):.3f}, {-_down(-ends[1]) + 0.0:.3f}]" if ends else "")


def _down(value: float) -> float:
    return math.floor(round(value * 1000, 6)) / 1000


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
