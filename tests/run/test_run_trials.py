"""A study's trials among several processes: each is taken once, a dead one again, and no more than asked for."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from src.run.trials import StudyError, Trials
from src.runfolder import RunFolder
from tests.conftest import ROOT
from tests.run.studies import SPACE, open_trials

Open = Callable[..., Trials]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Open the same study once more."""
    return partial(open_trials, tmp_path)


def states(trials: Trials) -> list[TrialState]:
    return [trial.state for trial in trials.study.get_trials(deepcopy=False)]


def die(trials: Trials, number: int) -> None:
    """As if the process that holds a trial had been killed."""
    path = trials.claims.folder / f"{number}.json"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": ended.pid}))


def test_take__values_become_the_command_line(opened: Open) -> None:
    trials = opened()
    taken = trials.take()
    assert taken is not None
    assert taken.number == 0
    assert taken.folder == trials.folder / "0"
    assert taken.overrides[0] == "+experiment=smoke"
    drawn = dict(text.split("=") for text in taken.overrides[1:])
    assert drawn["loss"] == taken.trial.params["loss"]
    assert float(drawn["optimizer.lr"]) == pytest.approx(taken.trial.params["lr"], rel=1e-4)
    assert ("loss.gamma" in drawn) == (drawn["loss"] == "focal")


def test_take__no_more_than_asked_for_and_more_when_more_are(opened: Open) -> None:
    one, other = opened(), opened()
    taken = [one.take(), other.take(), one.take()]
    assert [trial.number for trial in taken if trial] == [0, 1, 2]
    assert one.take() is None
    assert other.take() is None
    assert not one.is_done()
    for trial in taken:
        assert trial is not None
        one.finish(trial, state=TrialState.COMPLETE, value=0.5)
    assert other.is_done()
    more = opened(trials=4)
    assert not more.is_done()
    again = more.take()
    assert again is not None
    assert again.number == 3


def test_take__two_processes_never_train_the_same_trial(tmp_path: Path, opened: Open) -> None:
    trials = opened(trials=12)
    code = (
        "import sys; from pathlib import Path; from optuna.trial import TrialState\n"
        "from tests.run.studies import open_trials; trials = open_trials(Path(sys.argv[1]), trials=12)\n"
        "while taken := trials.take():\n"
        "    print(taken.number); trials.finish(taken, state=TrialState.COMPLETE, value=0.1)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    numbers = [int(number) for process in started for number in process.communicate(timeout=120)[0].split()]
    assert sorted(numbers) == list(range(12))
    assert states(trials) == [TrialState.COMPLETE] * 12


def test_take__a_study_begun_again_does_not_repeat_its_random_values(opened: Open) -> None:
    drawn = []
    for _ in range(3):
        taken = opened(sampler="random").take()
        assert taken is not None
        drawn.append(taken.trial.params["lr"])
    assert len(set(drawn)) == 3


def test_take__the_same_seed_draws_the_same_values(tmp_path: Path) -> None:
    def first(folder: str, seed: int) -> Any:
        taken = open_trials(tmp_path / folder, seed=seed).take()
        assert taken is not None
        return taken.trial.params

    assert first("a", 1) == first("b", 1) != first("c", 2)


def test_pick_up__a_dead_trial_comes_first_with_its_own_values(opened: Open) -> None:
    one, other = opened(), opened()
    first = one.take()
    assert first is not None
    die(one, 0)
    again = other.take()
    assert again is not None
    assert (again.number, again.overrides) == (0, first.overrides)
    assert again.owner != first.owner
    assert again.trial.user_attrs["pickups"] == 1
    one.finish(first, state=TrialState.COMPLETE, value=0.1)  # woken up again: the trial is no longer ours
    assert states(one) == [TrialState.RUNNING]
    other.finish(again, state=TrialState.COMPLETE, value=0.2)
    assert one.study.get_trials()[0].value == 0.2


def test_pick_up__values_that_were_not_drawn_yet_are_drawn(opened: Open) -> None:
    trials = opened()
    trials.study.ask()  # killed before it drew anything or claimed the trial
    taken = trials.take()
    assert taken is not None
    assert taken.number == 0
    assert taken.trial.params.keys() >= {"lr", "loss"}
    assert "pickups" not in taken.trial.user_attrs


def test_pick_up__an_interrupted_trial_is_not_counted_as_dead(opened: Open) -> None:
    trials = opened(retries=0)
    first = trials.take()
    assert first is not None
    trials.release(first)
    again = trials.take()
    assert again is not None
    assert again.number == 0
    assert "pickups" not in again.trial.user_attrs


def test_pick_up__a_trial_that_kills_its_process_every_time_fails(opened: Open) -> None:
    trials = opened(retries=1)
    assert trials.take()
    die(trials, 0)
    assert trials.take()
    die(trials, 0)
    following = trials.take()
    assert following is not None
    assert following.number == 1
    assert states(trials)[0] == TrialState.FAIL
    summary = RunFolder(trials.folder / "0").read_json("summary.json")
    assert summary["status"] == "failed"
    assert summary["error"] == "its process died 2 times (killed, perhaps for memory)"
    assert yaml.safe_load((trials.folder / "0/overrides.yaml").read_text())[0] == "+experiment=smoke"


def test_finish__a_failure_is_told_in_the_folder_and_the_study(opened: Open) -> None:
    trials = opened()
    taken = trials.take()
    assert taken is not None
    trials.finish(taken, state=TrialState.FAIL, reason="no such layer")
    (trial,) = trials.study.get_trials()
    assert (trial.state, trial.user_attrs["error"]) == (TrialState.FAIL, "no such layer")
    assert RunFolder(taken.folder).read_json("summary.json")["error"] == "no such layer"
    assert trials.claims.owner(0) is None


def test_study__other_overrides_or_ranges_are_another_study(opened: Open) -> None:
    opened()
    with pytest.raises(StudyError, match=r"begun with other overrides \(\+experiment=smoke, not seed=1\); sweep.name="):
        opened(base=("seed=1",))
    wider = {**SPACE, "lr": replace(SPACE["lr"], high=1.0)}
    with pytest.raises(StudyError, match=r"begun with other ranges \(lr\)"):
        opened(space=wider)
    assert opened(workers=7, pruner="asha").take() is not None


def test_study__another_storage_is_used_and_its_folder_must_be_there(tmp_path: Path) -> None:
    def open_in(folder: str) -> Trials:
        return open_trials(tmp_path / folder, storage=f"sqlite:///{tmp_path / 'optuna.db'}")

    taken = open_in("a").take()
    assert taken is not None
    assert not (tmp_path / "a/studies/smoke/journal.log").exists()
    again = open_in("a").take()
    assert again is not None
    assert again.number == 1
    with pytest.raises(StudyError, match="holds a study smoke of another folder; share that folder too"):
        open_in("b")


def test_journal__a_torn_line_is_cut_off(opened: Open) -> None:
    trials = opened()
    assert trials.take()
    path = trials.folder / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "torn')
    again = opened()
    assert path.read_bytes().startswith(whole)
    assert b"torn" not in path.read_bytes()
    assert again.take()
    assert len(opened().study.get_trials()) == 2


def test_journal__a_lock_left_behind_does_not_block_for_ever(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = opened()
    monkeypatch.setattr("src.run.trials._LOCK_SECONDS", 3)
    (trials.folder / "study.lock").touch()
    assert trials.take()


@pytest.mark.parametrize("pruner", ["none", "median", "asha", "hyperband"])
def test_pruner__gives_up_what_is_worse_but_not_in_the_warm_up(opened: Open, pruner: str) -> None:
    trials = opened(trials=40, pruner=pruner, warmup_epochs=2, warmup_trials=2, sampler="random")
    pruned_at = []
    for n in range(24):
        taken = trials.take()
        assert taken is not None
        worst = n % 4 == 3
        for epoch in range(9):
            taken.trial.report(0.0 if worst else 0.5 + n / 100, epoch)
            if taken.trial.should_prune():
                pruned_at.append((worst, epoch))
                break
        trials.finish(taken, state=TrialState.COMPLETE, value=0.0 if worst else 0.5)
    assert all(epoch >= 2 for _, epoch in pruned_at)
    assert (sum(worst for worst, _ in pruned_at) >= 3) == (pruner != "none")
