"""``python -m benchmarks [ROW ...]``: measure, print the table, write JSON."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.environment import environment
from benchmarks.findings import Finding
from benchmarks.measuring import ROOT, python
from benchmarks.registry import ROWS, Row
from benchmarks.settings import CLOCKS, Settings, default_originals, usable_cores
from benchmarks.table import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where every row was measured, or skipped for a reason, whatever its numbers; 1 otherwise."""
    wanted = _parse(arguments)
    rows = {name: row for name, row in ROWS.items() if row.available}
    console = Console(width=None if sys.stdout.isatty() else 160)
    if wanted.list:
        console.print("\n".join(f"{name:<12} {row.title}" for name, row in rows.items()))
        return 0
    if unknown := [name for name in wanted.rows if name not in rows]:
        sys.stderr.write(f"error: no row {', '.join(unknown)}; there are {', '.join(rows)}\n")
        return 2
    settings = _settings(wanted)
    settings.folder.mkdir(parents=True, exist_ok=True)
    where = environment(settings.threads)
    console.print(f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start'][0]:.1f}, {where['date']}")
    findings, failures, skipped = [], {}, {}
    for name in wanted.rows or rows:
        console.print(f"{name}: {rows[name].title} ...")
        found, problem, reason = _measure(rows[name], settings)
        findings += found
        if reason:
            skipped[name] = reason
            console.print(f"{name}: skipped, {reason}", markup=False)
        if problem:
            failures[name] = problem
            console.print(f"{name}: failed\n{problem}", markup=False)
    console.print(table(findings))
    if wanted.small:
        console.print("--small: tiny inputs and few turns show that the rows work, not what they reach")
    if wanted.output:
        content = {
            "environment": where,
            "settings": json.loads(settings.dumps()),
            "findings": [finding.to_json() for finding in findings],
            "failed": failures,
            "skipped": skipped,
        }
        wanted.output.parent.mkdir(parents=True, exist_ok=True)
        wanted.output.write_text(json.dumps(content, indent=2) + "\n")
        console.print(f"written to {wanted.output}")
    return 1 if failures else 0


def _parse(arguments: Sequence[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="which rows; none means all")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--repeats", type=int, default=0, help="turns of each side; default: each row's own number")
    parser.add_argument("--output", type=Path, help="write JSON here")
    parser.add_argument("--folder", type=Path, default=ROOT / "data/cache/benchmarks", help="for generated inputs")
    parser.add_argument("--originals", type=Path, default=default_originals(), help="folder of original JPEGs")
    parser.add_argument("--coco", type=Path, help="folder in COCO's layout, for the rows that train")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of rows that may use all cores")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use too")
    parser.add_argument("--small", action="store_true", help="tiny inputs: only to see that rows work")
    return parser.parse_args(arguments)


def _settings(wanted: Any) -> Settings:
    folders = {name: value.resolve() if (value := getattr(wanted, name)) else None for name in ("originals", "coco")}
    return Settings(
        folder=wanted.folder.resolve(),
        repeats=wanted.repeats,
        small=wanted.small,
        threads=wanted.threads,
        clock=wanted.clock,
        **folders,
    )


def _measure(row: Row, settings: Settings) -> tuple[list[Finding], str, str]:
    """Findings of a row, measured in a process of its own; or what went wrong; or why it was not measured."""
    repeats = settings.repeats or (1 if settings.small else row.repeats)
    threads = 1 if row.single_thread else settings.threads
    own = replace(settings, repeats=repeats, threads=threads)
    variables = {"NO_ALBUMENTATIONS_UPDATE": "1", **({"OMP_NUM_THREADS": "1"} if threads == 1 else {})}
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "findings.json"
        done = subprocess.run(
            python("-m", "benchmarks.one", row.name, own.dumps(), result),
            cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            return [], done.stderr[-3000:] or f"exit code {done.returncode}", ""
        content = json.loads(result.read_text())
        return [Finding.from_json(one) for one in content["findings"]], "", content["skipped"]


if __name__ == "__main__":
    sys.exit(main())
