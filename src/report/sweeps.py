"""How the jobs of a sweep or the trials of a study compare: a table, sweep.csv, sweep.json and a picture."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.table import Table

from src.analysis.sweeps import job_order, main_effects, parse_override, sweep_table, swept_keys
from src.report.tables import console
from src.runfolder import replacing

JOBS_SHOWN, REASONS_SHOWN, JOBS_NAMED = 30, 5, 3
_SCORES = {
    "objective": "objective",
    "val/map": "val mAP",
    "val/f1_micro": "val micro-F1",
    "val/f1_micro_tuned": "tuned",
}


def report_sweep(
    folder: Path, *, kind: str = "sweep", jobs: Sequence[Sequence[str]] = (), history: bool = False
) -> None:
    """Print the jobs of a sweep, best first, and write them as sweep.json, sweep.csv and sweep.png beside the jobs.

    Args:
        folder: holds a folder per job; without any that ended, nothing is done.
        kind: sweep | study, for the title.
        jobs: overrides of each job it was to have, by number, where that is known.
        history: jobs are numbered in the order in which they began: draw the objective over it.
    """
    rows = sweep_rows(folder)
    if not rows:
        return
    keys = swept_keys([row["overrides"] for row in rows])
    table = sweep_table(rows, keys)
    effects = main_effects(table, keys)
    with replacing(folder / "sweep.json", "w") as file:
        file.write(json.dumps(rows, indent=2) + "\n")
    with replacing(folder / "sweep.csv", "w") as file:
        table.to_csv(file, index=False)
    written = ["sweep.csv"]
    if keys and table["objective"].notna().any():
        _draw(folder, table, keys, effects, objective=_objective_name(rows), history=history)
        written.append("sweep.png")
    missing = _not_begun(rows, jobs)
    counts = ", ".join(f"{count} {status}" for status, count in table["status"].value_counts().items())
    counts += f", {len(missing)} not begun" if missing else ""
    console().print(f"{kind} {folder}: {counts}", style="bold", markup=False, soft_wrap=True)
    console().print(_printed(rows, keys))
    for line in [
        *_notes(folder, rows, table, effects),
        *_to_begin(missing),
        f"written to {folder}: {', '.join(written)}",
    ]:
        console().print(line, markup=False, soft_wrap=True)


def sweep_rows(folder: Path) -> list[dict[str, Any]]:
    """Summary of every job that ended, with its folder's name (``job``) and command line, best first."""
    rows = []
    for path in folder.glob("*/summary.json"):
        command_line = path.parent / "overrides.yaml"
        overrides = [str(text) for text in yaml.safe_load(command_line.read_text())]
        rows.append({"job": path.parent.name, "overrides": overrides, **json.loads(path.read_text())})
    return sorted(rows, key=job_order)


def best_command(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The command that trains the best finished job again, as it can be typed; None where none finished."""
    finished = [row for row in rows if row["status"] == "finished"]
    return f"python -m src.train {shlex.join(finished[0]['overrides'])}" if finished else None


def _not_begun(rows: Sequence[Mapping[str, Any]], jobs: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Jobs without a row; a job's folder begins with its number."""
    begun = {row["job"].partition("_")[0] for row in rows}
    return [overrides for number, overrides in enumerate(jobs) if str(number) not in begun]


def _to_begin(missing: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"not begun:  python -m src.train {shlex.join(overrides)}" for overrides in missing[:JOBS_NAMED]]
    return [*lines, f"... and {len(missing) - JOBS_NAMED} more"] if len(missing) > JOBS_NAMED else lines


def _draw(
    folder: Path, table: pd.DataFrame, keys: Sequence[str], effects: pd.DataFrame, *, objective: str, history: bool
) -> None:
    from src.report.figures.style import to_png  # matplotlib is not worth loading for a table
    from src.report.figures.sweeps import sweep_figure

    with replacing(folder / "sweep.png", "wb") as file:
        file.write(to_png(sweep_figure(table, keys, effects, objective=objective, history=history)))


def _objective_name(rows: Sequence[Mapping[str, Any]]) -> str:
    return next((str(row["objective_name"]) for row in rows if "objective_name" in row), "objective")


def _printed(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> Table:
    """Values of the keys as typed."""
    shown = Table()
    for header in ("job", *keys, "status", *_SCORES.values()):
        shown.add_column(header, justify="right" if header in _SCORES.values() else "left", overflow="fold")
    for row in rows[:JOBS_SHOWN]:
        typed = dict(map(parse_override, row["overrides"]))
        scores = ["-" if row.get(name) is None else f"{row[name]:.4f}" for name in _SCORES]
        shown.add_row(row["job"], *(typed.get(key, "") for key in keys), row["status"], *scores)
    return shown


def _notes(folder: Path, rows: Sequence[Mapping[str, Any]], table: pd.DataFrame, effects: pd.DataFrame) -> list[str]:
    """What stands below the table."""
    failed = [row for row in rows if row.get("error")]
    lines = [f"… and {len(rows) - JOBS_SHOWN} more in sweep.csv"] if len(rows) > JOBS_SHOWN else []
    lines += [f"{row['job']} failed: {str(row['error']).splitlines()[0]}" for row in failed[:REASONS_SHOWN]]
    if len(effects):
        finished = int((table["status"] == "finished").sum())
        told = zip(effects["key"], effects["share"], effects["chance"], strict=True)
        shares = ", ".join(f"{key} {share:.2f} (by chance {chance:.2f})" for key, share, chance in told)
        lines.append(f"share of the objective's variance that a key explains, {finished} finished jobs: {shares}")
    lines += [
        f"{job} was stopped; go on with it:  python -m src.train {shlex.quote(f'resume={folder / job}')}"
        for job in (row["job"] for row in rows if row["status"] == "interrupted")
    ]
    if command := best_command(rows):
        lines.append(f"best:  {command}")
    return lines
