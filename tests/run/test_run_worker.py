"""A worker: what it does with a trial that ends well, badly, early, or not at all."""

import copy
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from src.config.schema.errors import ConfigError, Interrupted, UserError
from src.config.schema.root import Job, TrainConfig
from src.config.schema.variants import to_plain
from src.run import worker
from src.run.trials import Trials
from src.run.worker import work
from src.runfolder import RunFolder
from tests.conftest import Compose
from tests.run.studies import open_trials

Training = Callable[..., float]


@pytest.fixture
def compose(smoke: Compose) -> Callable[[Sequence[str]], TrainConfig]:
    config = smoke()
    return lambda _: copy.deepcopy(config)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Callable[[Training], list[Job]]:
    """Put a function in the place of training; the jobs it gets are listed."""

    def replaced(train: Training) -> list[Job]:
        jobs: list[Job] = []

        def noting(job: Job, *, on_epoch: Any) -> float:
            jobs.append(job)
            return train(job, on_epoch)

        monkeypatch.setattr(worker, "train", noting)
        return jobs

    return replaced


def ended(trials: Trials) -> list[tuple[str, float | None]]:
    return [(trial.state.name, trial.value) for trial in trials.study.get_trials(deepcopy=False)]


def test_work__trains_every_trial_in_its_own_folder(tmp_path: Path, training: Any, compose: Any) -> None:
    trials = open_trials(tmp_path)
    jobs = training(lambda job, _: int(job.folder.name) / 10)
    work(trials, compose)
    assert ended(trials) == [("COMPLETE", 0.0), ("COMPLETE", 0.1), ("COMPLETE", 0.2)]
    assert [job.folder for job in jobs] == [trials.folder / str(n) for n in range(3)]
    assert [job.resumed for job in jobs] == [False] * 3
    assert all(job.overrides[0] == "+experiment=smoke" for job in jobs)
    assert not list(trials.claims.folder.iterdir())


def test_work__a_users_error_is_noted_and_the_next_trial_goes_on(tmp_path: Path, training: Any, compose: Any) -> None:
    def fail_first(job: Job, _: Any) -> float:
        if job.folder.name == "0":
            raise UserError("the loss became nan")
        return 0.5

    trials = open_trials(tmp_path)
    training(fail_first)
    work(trials, compose)
    assert ended(trials) == [("FAIL", None), ("COMPLETE", 0.5), ("COMPLETE", 0.5)]
    assert RunFolder(trials.folder / "0").read_json("summary.json")["error"] == "the loss became nan"


def test_work__values_that_do_not_go_together_fail_that_trial_alone(tmp_path: Path, training: Any) -> None:
    def refuse(overrides: Sequence[str]) -> TrainConfig:
        raise ConfigError("scheduler.warmup_epochs=3: OneCycle has its own")

    trials = open_trials(tmp_path)
    jobs = training(lambda job, _: 0.5)
    work(trials, refuse)
    assert ended(trials) == [("FAIL", None)] * 3
    assert jobs == []
    assert "OneCycle" in RunFolder(trials.folder / "2").read_json("summary.json")["error"]


def test_work__a_bug_fails_the_trial_and_is_shown(tmp_path: Path, training: Any, compose: Any) -> None:
    def broken(job: Job, _: Any) -> float:
        raise ZeroDivisionError("division by zero")

    trials = open_trials(tmp_path)
    training(broken)
    with pytest.raises(ZeroDivisionError):
        work(trials, compose)
    assert ended(trials) == [("FAIL", None)]
    assert trials.study.get_trials()[0].user_attrs["error"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_work__an_objective_that_is_no_number_is_a_failure(
    tmp_path: Path, training: Any, compose: Any, value: float
) -> None:
    trials = open_trials(tmp_path, trials=1)
    training(lambda job, _: value)
    work(trials, compose)
    assert ended(trials) == [("FAIL", None)]
    assert RunFolder(trials.folder / "0").read_json("summary.json")["error"] == f"the objective is {value}"


def test_work__worse_trials_are_pruned_but_not_in_their_last_epoch(tmp_path: Path, training: Any, compose: Any) -> None:
    epochs: dict[str, int] = {}

    def falling(job: Job, on_epoch: Any) -> float:
        job.config.trainer.max_epochs = 3
        for epoch in range(3):
            epochs[job.folder.name] = epoch + 1
            on_epoch(epoch, 1.0 - int(job.folder.name) / 10)
        return 1.0

    trials = open_trials(tmp_path, trials=4, warmup_trials=2, warmup_epochs=1)
    training(falling)
    work(trials, compose)
    assert [state for state, _ in ended(trials)] == ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED"]
    assert epochs == {"0": 3, "1": 3, "2": 2, "3": 2}
    late = open_trials(tmp_path / "late", trials=4, warmup_trials=2, warmup_epochs=2)
    work(late, compose)
    assert [state for state, _ in ended(late)] == ["COMPLETE"] * 4


def test_work__an_interrupted_trial_waits_for_the_next_start(tmp_path: Path, training: Any, compose: Any) -> None:
    def interrupted(job: Job, _: Any) -> float:
        raise Interrupted(signal.SIGINT)

    trials = open_trials(tmp_path, trials=1)
    training(interrupted)
    with pytest.raises(Interrupted):
        work(trials, compose)
    assert ended(trials) == [("RUNNING", None)]
    training(lambda job, _: 0.5)
    work(trials, compose)
    assert ended(trials) == [("COMPLETE", 0.5)]


def test_work__goes_on_from_a_checkpoint_and_reports_each_epoch_once(
    tmp_path: Path, training: Any, compose: Any, smoke: Compose
) -> None:
    def killed(job: Job, on_epoch: Any) -> float:
        on_epoch(0, 0.25)
        (job.folder / "checkpoints").mkdir(parents=True)
        (job.folder / "checkpoints/last.ckpt").touch()
        (job.folder / "config.yaml").write_text(yaml.safe_dump(to_plain(smoke("seed=5"))))
        raise KeyboardInterrupt

    def resumed(job: Job, on_epoch: Any) -> float:
        on_epoch(0, 0.75)  # trained again since the checkpoint; bit-equal in truth
        on_epoch(1, 0.5)
        return 0.5

    trials = open_trials(tmp_path, trials=1)
    training(killed)
    with pytest.raises(KeyboardInterrupt):
        work(trials, compose)
    jobs = training(resumed)
    work(trials, compose)
    assert [(job.resumed, job.config.seed) for job in jobs] == [(True, 5)]
    assert trials.study.get_trials()[0].intermediate_values == {0: 0.25, 1: 0.5}


def test_work__without_a_checkpoint_it_begins_again_in_a_clean_folder(
    tmp_path: Path, training: Any, compose: Any
) -> None:
    trials = open_trials(tmp_path, trials=1)
    left = trials.folder / "0/config.yaml"
    left.parent.mkdir()
    left.touch()
    jobs = training(lambda job, _: float(left.exists()))
    work(trials, compose)
    assert [job.resumed for job in jobs] == [False]
    assert ended(trials) == [("COMPLETE", 0.0)]


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"status": "finished", "objective": 0.625}, ("COMPLETE", 0.625)),
        ({"status": "pruned"}, ("PRUNED", None)),
        ({"status": "failed", "error": "NumericsError: nan"}, ("FAIL", None)),
    ],
)
def test_work__a_run_that_ended_before_it_was_told_is_told_not_trained(
    tmp_path: Path, training: Any, compose: Any, summary: dict[str, Any], expected: Any
) -> None:
    trials = open_trials(tmp_path, trials=1)
    taken = trials.take()
    assert taken is not None
    trials.release(taken)
    taken.folder.mkdir()
    (taken.folder / "summary.json").write_text(json.dumps(summary))
    jobs = training(lambda job, _: 0.0)
    work(trials, compose)
    assert jobs == []
    assert ended(trials) == [expected]


def test_work__waits_for_the_trials_of_others_and_takes_over_one_that_dies(
    tmp_path: Path, training: Any, compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    other = open_trials(tmp_path, trials=1)
    taken = other.take()
    assert taken is not None
    path = other.claims.folder / "0.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "place": "another machine"}))
    trials = open_trials(tmp_path, trials=1, stale_seconds=1)
    jobs = training(lambda job, _: 0.5)
    work(trials, compose)
    assert len(jobs) == 1
    assert ended(trials) == [("COMPLETE", 0.5)]
    assert trials.study.get_trials()[0].user_attrs["pickups"] == 1


def test_work__a_trial_lost_to_another_process_is_left_to_it(tmp_path: Path, training: Any, compose: Any) -> None:
    other = open_trials(tmp_path, trials=1)

    def stalled(job: Job, _: Any) -> float:
        other.claims.take(0)  # the other process believes that this one is dead
        with pytest.raises(SystemExit):
            signal.pause()
        threading.Timer(0.2, lambda: other.claims.release(0)).start()
        raise Interrupted(signal.SIGTERM)

    def once(job: Job, on_epoch: Any) -> float:
        return stalled(job, on_epoch) if len(jobs) == 1 else 0.5

    trials = open_trials(tmp_path, trials=1, stale_seconds=1)
    jobs = training(once)
    work(trials, compose)
    assert len(jobs) == 2
    assert ended(trials) == [("COMPLETE", 0.5)]


def test_work__sigterm_between_trials_leaves_no_lock(tmp_path: Path, training: Any, compose: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminated(job: Job, _: Any) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return 0.5

    trials = open_trials(tmp_path)
    training(terminated)
    with pytest.raises(SystemExit) as caught:
        work(trials, compose)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert not list(trials.folder.glob("*.lock"))
    assert ended(trials) == [(TrialState.RUNNING.name, None)]


def test_work__ends_with_the_study_that_started_it(
    tmp_path: Path, training: Any, compose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.01)
    trials = open_trials(tmp_path, parent=2**22 + 1)  # larger than any process id: gone
    training(lambda job, _: time.sleep(5) or 0.5)
    with pytest.raises(SystemExit):
        work(trials, compose)
