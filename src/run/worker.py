"""One process of a study: takes a trial, trains it in its own run folder, tells how it ended, until none is left."""

import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
import torch
import yaml
from optuna.trial import TrialState

from src.config.schema.errors import Interrupted, Pruned, UserError
from src.config.schema.root import Job, TrainConfig
from src.config.schema.variants import from_plain
from src.run.failures import run_status
from src.run.training import OnEpoch, train
from src.run.trials import Taken, Trials
from src.runfolder import RunFolder

Compose = Callable[[Sequence[str]], TrainConfig]
"""From a command line to the configuration; raises ConfigError where its values do not go together."""

POLL_SECONDS = 1.0


def work(trials: Trials, compose: Compose) -> None:
    """Train until every trial of the study has ended, those of other processes included.

    Raises:
        Interrupted: after a signal; the trial in progress is left to whoever comes next.
    """
    with _ending_on_sigterm(), _ending_with(trials.sweep.parent):
        while True:
            taken = trials.take()
            if taken:
                _run(trials, taken, compose)
            elif trials.is_done():
                return
            else:  # another process may die yet, and its trial be left to us
                time.sleep(POLL_SECONDS)


def _run(trials: Trials, taken: Taken, compose: Compose) -> None:
    if _ended_before(trials, taken):
        return
    lost = threading.Event()

    def give_up() -> None:
        lost.set()
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        with trials.claims.kept_fresh(taken.number, taken.owner, on_loss=give_up):
            job = _job(taken, compose)
            value = train(job, on_epoch=_reporter(taken.trial, job))
    except Pruned:
        trials.finish(taken, state=TrialState.PRUNED)
    except (UserError, torch.OutOfMemoryError) as error:
        trials.finish(taken, state=TrialState.FAIL, reason=f"{error}".strip())
    except (Interrupted, KeyboardInterrupt, SystemExit):
        trials.release(taken)
        if not lost.is_set():
            raise
    except Exception as error:
        trials.finish(taken, state=TrialState.FAIL, reason=f"{type(error).__name__}: {error}")
        raise
    else:
        _tell_value(trials, taken, value)


def _job(taken: Taken, compose: Compose) -> Job:
    """Go on from the last checkpoint of a run that was left alone; else begin, with the same values."""
    folder = RunFolder(taken.folder)
    if folder.last.is_file():
        path = folder.path / "config.yaml"
        config = from_plain(yaml.safe_load(path.read_text()), where=str(path))
        return Job(config, folder.path, taken.overrides, resumed=True)
    shutil.rmtree(folder.path, ignore_errors=True)
    return Job(compose(taken.overrides), folder.path, taken.overrides, resumed=False)


def _ended_before(trials: Trials, taken: Taken) -> bool:
    """A process that died between the end of its run and telling so: tell for it."""
    folder = RunFolder(taken.folder)
    match run_status(folder):
        case "finished":
            _tell_value(trials, taken, float(folder.read_json("summary.json")["objective"]))
        case "pruned":
            trials.finish(taken, state=TrialState.PRUNED)
        case "failed":
            reason = str(folder.read_json("summary.json").get("error", "")) or "failed"
            trials.finish(taken, state=TrialState.FAIL, reason=reason)
        case _:
            return False
    return True


def _tell_value(trials: Trials, taken: Taken, value: float) -> None:
    if math.isfinite(value):
        trials.finish(taken, state=TrialState.COMPLETE, value=value)
    else:
        trials.finish(taken, state=TrialState.FAIL, reason=f"the objective is {value}")


def _reporter(trial: optuna.Trial, job: Job) -> OnEpoch:
    """Tells the study of each epoch once, also when a resumed run repeats one, and prunes where it says so."""
    past = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
    reported = dict(past)

    def report(epoch: int, objective: float) -> None:
        if epoch in reported:
            return
        reported[epoch] = objective
        trial.report(objective, epoch)
        last = epoch + 1 >= job.config.trainer.max_epochs  # trained anyway: nothing to save
        if not last and trial.should_prune():
            raise Pruned(epochs=epoch + 1, objective=max(reported.values()))

    return report


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Between two trials too, let go of locks before the end."""

    def stop(number: int, _frame: Any) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ending_with(parent: int) -> Iterator[None]:
    """Ask this process to stop, as SIGTERM does, when the study that started it is gone; 0 watches nothing."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    if parent:
        threading.Thread(target=watch, name="parent", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
