"""Tables for the terminal: how a run ended, how the jobs of a sweep compare."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

SCORE_COLUMNS = (("mAP", "map"), ("micro-F1", "f1_micro"), ("macro-F1", "f1_macro"))


def console() -> Console:
    """Standard output; wide enough for paths where it is not a terminal."""
    found = Console()
    return found if found.is_terminal else Console(width=160, highlight=False)


def closing_table(rows: Mapping[str, Mapping[str, float]], *, title: str) -> Table:
    """Scores per way of deciding.

    Args:
        rows: label to ``map``, ``f1_micro``, ``f1_macro`` (those it has).
        title: shown above.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for header, _ in SCORE_COLUMNS:
        table.add_column(header, justify="right")
    for label, scores in rows.items():
        table.add_row(label, *(_score(scores.get(key)) for _, key in SCORE_COLUMNS))
    return table


def metrics_table(metrics: Mapping[str, float], *, title: str) -> Table:
    """Every metric of one split, one per row."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for key, value in metrics.items():
        table.add_row(key, _score(value))
    return table


def print_sweep(folder: str) -> None:
    """Print the jobs of a sweep, best objective first, and write the same as sweep.json."""
    jobs = sweep_rows(Path(folder))
    if not jobs:
        return
    swept = swept_keys([job["overrides"] for job in jobs])
    table = Table(title=f"sweep {folder}", title_justify="left", title_style="bold")
    for header in ("job", *swept, "status", "objective", "val mAP", "val micro-F1", "tuned"):
        table.add_column(header, justify="left" if header in ("job", "status", *swept) else "right")
    for job in jobs:
        choices = dict(text.lstrip("+").partition("=")[::2] for text in job["overrides"])
        scores = [_score(job.get(key)) for key in ("objective", "val/map", "val/f1_micro", "val/f1_micro_tuned")]
        table.add_row(job["job"], *(choices.get(key, "") for key in swept), job["status"], *scores)
    (Path(folder) / "sweep.json").write_text(json.dumps(jobs, indent=2) + "\n")
    console().print(table)


def sweep_rows(folder: Path) -> list[dict[str, Any]]:
    """Summary of every job of a sweep with its folder's name and command line, best objective first."""
    rows = []
    for path in folder.glob("*/summary.json"):
        command_line = path.parent / "overrides.yaml"
        overrides = [str(text) for text in yaml.safe_load(command_line.read_text())]
        rows.append({"job": path.parent.name, "overrides": overrides, **json.loads(path.read_text())})
    return sorted(rows, key=lambda row: (-row.get("objective", float("-inf")), row["job"]))


def swept_keys(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Keys whose value is not the same in every job, in the order of the command line."""
    values: dict[str, set[str]] = {}
    for job in overrides:
        for text in job:
            key, _, value = text.lstrip("+").partition("=")
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
