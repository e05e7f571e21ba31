"""What preparing a data set has done, in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from src.report.tables import console

BROKEN_SHOWN = 10


def print_preparation(rows: Sequence[Mapping[str, Any]], broken: Sequence[str]) -> None:
    """Print a row per step, and the broken images.

    Args:
        rows: ``what``, ``images``, ``bytes``, ``seconds``, ``note``.
        broken: images that cannot be used, each with its reason.
    """
    table = Table(title="prepared", title_justify="left")
    for header in ("step", "images", "size", "seconds", ""):
        table.add_column(header, justify="right" if header in ("images", "size", "seconds") else "left")
    for row in rows:
        size = f"{row['bytes'] / 1e6:,.1f} MB" if row["bytes"] else ""
        images = f"{row['images']:,}" if row["images"] else ""
        table.add_row(row["what"], images, size, f"{row['seconds']:.2f}", escape(row["note"]))
    lines = [f"broken     {escape(text)}" for text in broken[:BROKEN_SHOWN]]
    if len(broken) > BROKEN_SHOWN:
        lines.append(f"           and {len(broken) - BROKEN_SHOWN:,} more")
    console().print(Group(table, *lines))
