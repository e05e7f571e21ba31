"""One process at a time trains a run; killed ones stand in nobody's way."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.callbacks.checkpoint_io import CheckpointError, load_checkpoint
from src.runfolder import RunFolder, RunFolderError
from src.runhold import RunHeldError, held_by, holding

HOLDER = """
import os, sys, time
from pathlib import Path
from src.runhold import holding
with holding(Path(sys.argv[1])):
    if len(sys.argv) > 2 and not os.fork():  # as a loader process that has not yet seen that its parent is gone
        time.sleep(float(sys.argv[2]))
        os._exit(0)
    print("held", flush=True)
    sys.stdin.readline()
"""


def hold(folder: Path, *words: str) -> "subprocess.Popen[str]":
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    child = hold(tmp_path)
    yield child
    child.kill()
    child.communicate()


def test_holding__another_process_is_named(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    told: list[str] = []
    refused = pytest.raises(RunHeldError, match=f"process {other.pid} is training this run")
    with refused, holding(tmp_path, patience=1.5, on_wait=told.append):
        pass
    assert told == [f"{tmp_path} is held by process {other.pid}; waiting 2 s in case that is ending"]
    assert held_by(tmp_path) == f"process {other.pid}"


def test_holding__ends_with_its_process_and_leaves_nothing(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.communicate("\n")
    assert list(tmp_path.iterdir()) == []
    assert held_by(tmp_path) == ""
    with holding(tmp_path):
        assert held_by(tmp_path) == f"process {os.getpid()}"
    assert list(tmp_path.iterdir()) == []


def test_holding__loader_processes_of_a_killed_trainer_are_waited_for(tmp_path: Path) -> None:
    trainer = hold(tmp_path, "1.5")
    trainer.kill()
    trainer.wait()
    assert held_by(tmp_path)
    start = time.monotonic()
    with holding(tmp_path):
        assert 0.3 < time.monotonic() - start < 6
    assert held_by(tmp_path) == ""


def test_holding__not_for_ever(tmp_path: Path) -> None:
    trainer = hold(tmp_path, "5")
    trainer.kill()
    trainer.wait()
    with pytest.raises(RunHeldError, match="is training this run"), holding(tmp_path, patience=0.5):
        pass


def test_holding__given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), holding(tmp_path):
        raise ZeroDivisionError
    with holding(tmp_path):
        pass


def test_files__that_a_running_run_will_write_are_said_to_come(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match=f"thresholds.json: missing; process {other.pid} is training this run"):
        run.read_json("thresholds.json")
    with pytest.raises(CheckpointError, match=f"process {other.pid} is still in this run's first epoch"):
        load_checkpoint(run.best)
    other.communicate("\n")
    with pytest.raises(RunFolderError, match=r"did not get that far: python -m src\.train resume="):
        run.read_json("thresholds.json")
    with pytest.raises(CheckpointError, match="ended before its first epoch did"):
        load_checkpoint(run.best)
