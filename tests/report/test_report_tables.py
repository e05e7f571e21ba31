"""Tables for the terminal."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.report.tables import closing_table, metrics_table, print_sweep, sweep_rows, swept_keys


def job(folder: Path, name: str, overrides: list[str], **summary: Any) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    (folder / name / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    finished = {"status": "finished", "val/map": 0.5}
    job(folder, "0_run", ["loss=focal", "seed=0", "name=run"], objective=0.25, **finished)
    job(folder, "1_run", ["loss=bce", "seed=0", "name=run"], status="failed", error="NumericsError: …")
    job(folder, "2_run", ["loss=asl", "seed=0", "name=run"], objective=0.75, **finished)
    job(folder, "3_run", ["loss=soft_f1", "seed=1", "name=run"], objective=0.5, **finished)
    return folder


def test_sweep_rows__best_first_and_failed_last(sweep: Path) -> None:
    rows = sweep_rows(sweep)
    assert [row["job"] for row in rows] == ["2_run", "3_run", "0_run", "1_run"]
    assert rows[0]["overrides"] == ["loss=asl", "seed=0", "name=run"]


def test_sweep_rows__a_score_of_zero_is_better_than_a_failure(tmp_path: Path) -> None:
    job(tmp_path, "0_run", [], status="failed")
    job(tmp_path, "1_run", [], status="finished", objective=0.0)
    assert [row["job"] for row in sweep_rows(tmp_path)] == ["1_run", "0_run"]


def test_sweep_rows__command_lines_survive_quotes_and_length(tmp_path: Path) -> None:
    overrides = ["data.root='/a folder/" + "with a long name " * 8 + "'", "+experiment=smoke", "data.classes=[a,b]"]
    job(tmp_path, "0_run", overrides, status="finished", objective=0.5)
    job(tmp_path, "1_run", [], status="finished", objective=0.25)
    assert [row["overrides"] for row in sweep_rows(tmp_path)] == [overrides, []]


def test_swept_keys__only_what_differs_in_the_order_typed() -> None:
    jobs = [["+experiment=smoke", "seed=0", "loss=focal"], ["+experiment=smoke", "seed=1", "loss=bce"]]
    assert swept_keys(jobs) == ["seed", "loss"]
    assert swept_keys(jobs[:1]) == []
    assert swept_keys([["+experiment=a"], ["+experiment=b"]]) == ["experiment"]


def test_print_sweep__table_and_json(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(str(sweep))
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if "objective" in line)
    assert "loss" in header
    assert "seed" in header
    assert "name" not in header
    lines = [line for line in printed.splitlines() if "_run" in line]
    assert [line.split()[1] for line in lines] == ["2_run", "3_run", "0_run", "1_run"]
    assert "0.7500" in lines[0]
    assert "failed" in lines[3]
    assert json.loads((sweep / "sweep.json").read_text()) == sweep_rows(sweep)


def test_print_sweep__nothing_finished_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(str(tmp_path))
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "sweep.json").exists()


def cells(table: Any) -> list[list[str]]:
    return [list(column.cells) for column in table.columns]


def test_closing_table__missing_scores_are_a_dash() -> None:
    table = closing_table({"val": {"map": 0.5, "f1_micro": 0.25}}, title="x")
    assert cells(table) == [["val"], ["0.5000"], ["0.2500"], ["-"]]


def test_metrics_table__one_row_each() -> None:
    assert cells(metrics_table({"map": 0.5, "or": 0.0}, title="x")) == [["map", "or"], ["0.5000", "0.0000"]]
