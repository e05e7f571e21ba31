"""A whole study: workers that die, are replaced or stopped; and the real thing with one of two workers killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState

from src.config.schema.errors import ConfigError, Interrupted, Pruned
from src.config.schema.root import Job
from src.run import study as study_module
from src.run.study import run_study
from src.run.training import train
from src.run.trials import StudyError
from src.runfolder import RunFolder
from tests.conftest import ROOT, Compose
from tests.run.conftest import SHORT, Run
from tests.run.studies import BASE, open_trials, study_config

FAKE = """
import sys, time
from pathlib import Path
from optuna.trial import TrialState
from tests.run.studies import open_trials
folder, what = Path(sys.argv[1]), sys.argv[2]
assert "sweep.workers=0" in sys.argv and sys.argv[-1].startswith("sweep.parent=")
trials = open_trials(folder, stale_seconds=1)
while taken := trials.take():
    if what == "crash" or (what == "once" and not (folder / "crashed").exists()):
        (folder / "crashed").touch()
        sys.exit("the worker is out of luck")
    if what == "wait":
        (folder / "waiting").touch()
        time.sleep(60)
    taken.folder.mkdir()
    (taken.folder / "summary.json").write_text('{"status": "finished", "objective": 0.5}')
    (taken.folder / "overrides.yaml").write_text(str(taken.overrides))
    trials.finish(taken, state=TrialState.COMPLETE, value=0.5 + taken.number / 10)
"""
"""A worker that takes trials without training anything."""


def fake(folder: Path, what: str) -> list[str]:
    return [sys.executable, "-c", FAKE, str(folder), what]


def study(folder: Path, what: str, **sweep: Any) -> None:
    run_study(
        study_config(folder, **sweep), BASE, compose=lambda _: pytest.fail("not here"), command=fake(folder, what)
    )


def states(folder: Path) -> list[TrialState]:
    return [trial.state for trial in open_trials(folder).study.get_trials()]


@pytest.fixture(autouse=True)
def _at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(study_module, "POLL_SECONDS", 0.02)


def test_run_study__tells_each_trial_and_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path, "well", workers=2)
    printed = capsys.readouterr().out
    assert "2 workers, OMP_NUM_THREADS=" in printed
    assert re.search(r"\[\d/3\] trial 2 finished  map 0\.7000  optimizer\.lr=", printed)
    assert len(re.findall(r"^\[\d/3\] trial", printed, flags=re.MULTILINE)) == 3
    assert f"study {tmp_path / 'studies/smoke'}: 3 finished" in printed
    assert "best:  python -m src.train +experiment=smoke optimizer.lr=" in printed
    folder = tmp_path / "studies/smoke"
    assert len(pd.read_csv(folder / "sweep.csv")) == 3
    assert (folder / "sweep.png").is_file()
    study(tmp_path, "crash")  # nothing left to do: no worker is started
    assert not (tmp_path / "crashed").exists()


def test_run_study__a_dead_worker_is_replaced_and_its_trial_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study(tmp_path, "once", workers=1)
    printed = capsys.readouterr().out
    assert "worker 0 ended by exit code 1: the worker is out of luck; started again (1 of 3)" in printed
    assert "(picked up 1 time)" in printed
    assert states(tmp_path) == [TrialState.COMPLETE] * 3


def test_run_study__workers_that_die_every_time_are_given_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StudyError, match=r"every worker died too often; .*logs/.*-0\.log tells why"):
        study(tmp_path, "crash", workers=1, retries=1)
    assert "given up" in capsys.readouterr().out


def test_run_study__ctrl_c_stops_the_workers_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def interrupt_once(seconds: float) -> None:
        if (tmp_path / "waiting").exists() and not sent:
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        real_sleep(seconds)

    real_sleep = time.sleep
    monkeypatch.setattr(study_module.time, "sleep", interrupt_once)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        study(tmp_path, "wait", workers=1)
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) == before
    assert "the same command goes on" in capsys.readouterr().out
    assert states(tmp_path) == [TrialState.RUNNING]
    study(tmp_path, "well", workers=1)
    assert states(tmp_path) == [TrialState.COMPLETE] * 3


def test_run_study__zero_trials_only_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StudyError, match=r"studies/smoke: no study there yet; sweep.trials=20 begins one"):
        study(tmp_path, "well", trials=0)
    assert not (tmp_path / "studies").exists()
    study(tmp_path, "well", workers=1)
    capsys.readouterr()
    (tmp_path / "studies/smoke/sweep.csv").unlink()
    study(tmp_path, "crash", trials=0)
    assert "best:  python -m src.train" in capsys.readouterr().out
    assert (tmp_path / "studies/smoke/sweep.csv").is_file()


def test_run_study__several_gpus_for_one_trial_are_refused(tmp_path: Path) -> None:
    config = study_config(tmp_path)
    config.trainer.devices = 2
    with pytest.raises(ConfigError, match=r"trainer.devices=2 in a study: .*CUDA_VISIBLE_DEVICES"):
        run_study(config, BASE, compose=lambda _: pytest.fail("not here"), command=[])


def test_train__pruned_after_an_epoch_says_so(smoke: Compose, tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []

    def prune(epoch: int, objective: float) -> None:
        told.append((epoch, objective))
        if epoch == 1:
            raise Pruned(epochs=2, objective=objective)

    job = Job(smoke(*SHORT, "trainer.max_epochs=4", "report=false"), tmp_path / "run", [], resumed=False)
    with pytest.raises(Pruned):
        train(job, on_epoch=prune)
    folder = RunFolder(tmp_path / "run")
    summary = folder.read_json("summary.json")
    assert (summary["status"], summary["epochs"], summary["objective"]) == ("pruned", 2, told[1][1])
    assert [(record["epoch"], record["holdout/map"]) for record in folder.read_records()] == told


def owners(folder: Path) -> dict[int, int]:
    """Process by trial, of those that have a checkpoint within an epoch and have not ended."""
    return {
        int(path.stem): int(json.loads(path.read_text())["pid"])
        for path in (folder / "claims").glob("*.json")
        if (folder / path.stem / "checkpoints/last.ckpt").is_file()
        and not (folder / path.stem / "summary.json").exists()
    }


@pytest.mark.slow
def test_study__of_two_workers_one_killed_in_mid_trial_finishes_all_trials(
    cache_dir: Path, tmp_path: Path, run: Run
) -> None:
    words = (
        "src.sweep", "+experiment=smoke", "sweep=smoke", "sweep.trials=3", "sweep.pruner=none", "data.image_size=32",
        "callbacks.checkpoint_steps=1", "report=false", f"cache_dir={cache_dir}", f"output_dir={tmp_path}",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / "studies/smoke"
    deadline = time.monotonic() + 300
    while not (found := owners(folder)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed, pid = next(iter(found.items()))
    os.kill(pid, signal.SIGKILL)
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert "ended by signal 9; started again (1 of 3)" in output
    assert f"trial {killed} finished" in output
    table = pd.read_csv(folder / "sweep.csv")
    assert table["status"].tolist() == ["finished"] * 3
    assert sorted(table["job"].tolist()) == [0, 1, 2]
    logs = "\n".join(path.read_text() for path in (folder / "logs").iterdir())
    assert re.search(rf"studies/smoke/{killed} \(resumed ", logs)
    assert [record["epoch"] for record in RunFolder(folder / str(killed)).read_records()] == [0, 1]
    assert not list((folder / "claims").iterdir())
    overrides = yaml.safe_load((folder / str(killed) / "overrides.yaml").read_text())
    own = [text for text in overrides if text.startswith(("optimizer.", "loss", "data.", "callbacks."))]
    whole = run(tmp_path / "whole", *own).read_json("summary.json")
    assert RunFolder(folder / str(killed)).read_json("summary.json")["objective"] == whole["objective"]


@pytest.mark.slow
def test_multirun__a_job_that_cannot_start_is_in_the_table(cache_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "src.train", "+experiment=smoke", "debug=fast", "data.image_size=32", "report=false",
         "trainer.max_epochs=1", "model.freeze=0,99", "-m", f"cache_dir={cache_dir}", f"hydra.sweep.dir={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["status"].tolist() == ["finished", "failed"]
    assert table["model.freeze"].tolist() == [0, 99]
    assert table["error"][1].startswith("model.freeze=99")
    assert "1_smoke failed: model.freeze=99" in done.stdout
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
