"""Every row once, with tiny inputs: that it measures both sides, not what comes out."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.registry import ROWS
from benchmarks.settings import Settings
from tests.conftest import ROOT

QUICK = ("index", "originals", "raw-cache", "tar-shards", "step", "dilated", "epoch-end")


def small(folder: Path) -> Settings:
    return Settings(folder=folder, repeats=1, small=True, clock="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.mark.parametrize("name", QUICK)
def test_row__measures_both_sides(name: str, folder: Path) -> None:
    if not ROWS[name].available:
        pytest.skip(f"{ROWS[name].needs} is not installed or not built")
    findings = ROWS[name].load()(small(folder))
    assert findings
    for finding in findings:
        assert finding.row == name
        assert len(finding.ours) == len(finding.peers) == len(finding.ratios) == 1
        assert all(0 < value < math.inf for value in (*finding.ours, *finding.peers))
    assert any(finding.target is not None for finding in findings)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ROWS) - {*QUICK, "gpu"}))
def test_row__of_whole_processes_measures_both_sides(name: str, folder: Path) -> None:
    test_row__measures_both_sides(name, folder)


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_command__one_row_alone_to_table_and_json(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out.json"
    done = run("index", "--small", "--repeats", 2, "--folder", folder, "--output", output, "--clock", "cpu")
    assert done.returncode == 0, done.stderr
    content = json.loads(output.read_text())
    assert set(content) == {"environment", "settings", "findings", "failed", "skipped"}
    assert {"date", "cpu", "cores", "threads", "load_at_start", "packages", "git_commit"} <= set(content["environment"])
    assert content["settings"]["repeats"] == 2
    assert [(one["row"], len(one["ours"]), one["unit"]) for one in content["findings"]] == [
        ("index", 2, "s cpu"), ("index", 2, "MB"), ("index", 2, "s cpu"),
    ]  # fmt: skip
    assert content["failed"] == {}
    assert re.search(r"index.*build the index.*>= 12x", done.stdout)


def test_command__a_row_that_fails_is_told_and_the_exit_code_says_so(tmp_path: Path) -> None:
    (tmp_path / "instances_v1_400.json").write_text('{"images": [')
    done = run("index", "--small", "--folder", tmp_path, "--output", tmp_path / "out.json")
    assert done.returncode == 1
    assert "truncated json" in done.stdout
    assert list(json.loads((tmp_path / "out.json").read_text())["failed"]) == ["index"]


def test_command__names_its_rows_and_refuses_others() -> None:
    listed = run("--list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [n for n, row in ROWS.items() if row.available]
    refused = run("indx")
    assert (refused.returncode, refused.stderr[:18]) == (2, "error: no row indx")


def test_documents__commands_for_benchmarks_name_rows_and_options_that_exist() -> None:
    text = (ROOT / "docs/performance.md").read_text()
    found = re.findall(r"(?:python -m benchmarks|make bench ARGS=\")([^`\n\"#]*)", text)
    assert len(found) >= 4
    for words in found:
        names = [word for word in words.split() if word in ROWS]
        options = [word for word in words.split() if word.startswith("--")]
        assert names or options or not words.strip(), words
        help_text = (ROOT / "benchmarks/__main__.py").read_text()
        assert [option for option in options if f'"{option}"' not in help_text] == []
