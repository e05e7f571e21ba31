"""How the jobs of a sweep compare: the table, the files beside it."""

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from src.report.sweeps import best_command, report_sweep, sweep_rows


def job(folder: Path, name: str, overrides: list[str], **summary: Any) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    (folder / name / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep"
    finished = {"status": "finished", "val/map": 0.5, "objective_name": "holdout/map"}
    job(folder, "0_run", ["loss=focal", "seed=0", "name=run"], objective=0.25, **finished)
    job(folder, "1_run", ["loss=bce", "seed=0", "name=run"], status="failed", error="NumericsError: loss is nan")
    job(folder, "2_run", ["loss=asl", "seed=0", "name=run"], objective=0.75, **finished)
    job(folder, "3_run", ["loss=soft_f1", "seed=1", "name=run"], objective=0.5, **finished)
    job(folder, "4_run", ["loss=soft_f1", "seed=0", "name=run"], objective=0.9, status="pruned", epochs=1)
    return folder


def test_sweep_rows__finished_first_then_pruned_then_failed(sweep: Path) -> None:
    rows = sweep_rows(sweep)
    assert [row["job"] for row in rows] == ["2_run", "3_run", "0_run", "4_run", "1_run"]
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


def test_best_command__can_be_typed(tmp_path: Path) -> None:
    overrides = ["logger.project='it is'", "loss=asl"]
    rows = [{"status": "finished", "overrides": overrides}, {"status": "finished", "overrides": []}]
    command = best_command(rows)
    assert command is not None
    assert shlex.split(command) == ["python", "-m", "src.train", *overrides]
    assert best_command([{"status": "failed", "overrides": []}]) is None


def test_report_sweep__table_best_first_with_failures_and_the_best_command(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report_sweep(sweep)
    printed = capsys.readouterr().out
    header = next(line for line in printed.splitlines() if "objective" in line)
    assert "loss" in header
    assert "seed" in header
    assert "name" not in header
    lines = [line for line in printed.splitlines() if "│" in line]
    assert [line.split()[1] for line in lines] == ["2_run", "3_run", "0_run", "4_run", "1_run"]
    assert "0.7500" in lines[0]
    assert "failed" in lines[4]
    assert "3 finished, 1 pruned, 1 failed" in printed
    assert "1_run failed: NumericsError: loss is nan" in printed
    assert "best:  python -m src.train loss=asl seed=0 name=run" in printed


def test_report_sweep__a_stopped_one_says_how_many_jobs_had_not_begun_and_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path, "0_run", ["seed=0"], status="finished", objective=0.5)
    job(tmp_path, "1_run", ["seed=1"], status="interrupted")
    report_sweep(tmp_path, jobs=[[f"seed={n}"] for n in range(7)])
    printed = capsys.readouterr().out
    assert "1 finished, 1 interrupted, 5 not begun" in printed
    assert "not begun:  python -m src.train seed=2\n" in printed
    assert "... and 2 more" in printed
    assert f"1_run was stopped; go on with it:  python -m src.train resume={tmp_path}/1_run" in printed
    report_sweep(tmp_path, jobs=[["seed=0"], ["seed=1"]])
    assert "not begun" not in capsys.readouterr().out


def test_report_sweep__files(sweep: Path) -> None:
    report_sweep(sweep)
    assert json.loads((sweep / "sweep.json").read_text()) == sweep_rows(sweep)
    table = pd.read_csv(sweep / "sweep.csv")
    assert list(table.columns[:6]) == ["rank", "job", "status", "objective", "loss", "seed"]
    assert table["rank"].tolist()[:3] == [1, 2, 3]
    assert table["rank"].isna().tolist() == [False, False, False, True, True]
    assert table["error"].dropna().tolist() == ["NumericsError: loss is nan"]
    assert (sweep / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_report_sweep__without_a_finished_job_there_is_a_table_but_no_picture(tmp_path: Path) -> None:
    job(tmp_path, "0_run", ["loss=bce"], status="failed", error="x")
    job(tmp_path, "1_run", ["loss=asl"], status="failed", error="x")
    report_sweep(tmp_path)
    assert len(pd.read_csv(tmp_path / "sweep.csv")) == 2
    assert not (tmp_path / "sweep.png").exists()


def test_report_sweep__nothing_ended_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_sweep(tmp_path)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "sweep.json").exists()


def test_report_sweep__a_long_table_says_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(33):
        job(tmp_path, f"{n}_run", [f"seed={n}"], status="finished", objective=n / 100)
    report_sweep(tmp_path)
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if "│" in line]) == 30
    assert "and 3 more in sweep.csv" in printed
    assert len(pd.read_csv(tmp_path / "sweep.csv")) == 33
