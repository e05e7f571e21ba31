"""A study from beginning to end: its worker processes, its progress, its result."""

import os
import platform
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from src.analysis.run_groups import IMMATERIAL
from src.config.schema.errors import ConfigError, Interrupted
from src.config.schema.sweep import StudyConfig
from src.report.sweeps import report_sweep
from src.report.tables import console
from src.run.trials import StudyError, Trials, study_folder, study_identity

if TYPE_CHECKING:
    from src.run.worker import Compose

POLL_SECONDS = 0.5
_STATES = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def run_study(config: StudyConfig, base: Sequence[str], *, compose: "Compose", command: Sequence[str]) -> None:
    """Begin a study, or go on with it, until ``sweep.trials`` trials have ended; then print and draw what came of it.

    Args:
        config: what to train and how to search.
        base: overrides that all trials share.
        compose: from the command line of a trial to its configuration.
        command: what was typed, to be started again for each worker.

    Raises:
        StudyError: the folder holds another study, or the workers died too often.
        Interrupted: after a signal; the same command goes on.
    """
    _refuse(config)
    sweep, folder = config.sweep, study_folder(config)
    if not sweep.trials:
        if not (folder / "study.json").is_file():
            raise StudyError(f"{folder}: no study there yet; sweep.trials=20 begins one")
        report_sweep(folder, kind="study", history=True)
        return
    material = [text for text in base if not text.lstrip("+").startswith(IMMATERIAL)]
    trials = Trials(config, base, study_identity(config, material))
    try:
        if sweep.workers:
            _supervise(trials, command)
        else:
            from src.run.worker import work  # torch: only where something is trained

            work(trials, compose)
    finally:
        if not sweep.parent:
            report_sweep(folder, kind="study", history=True)


def _refuse(config: StudyConfig) -> None:
    if config.trainer.devices > 1:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices} in a study: a trial is pruned in one process, the others would "
            "wait for ever; start the command once per GPU, each with its own CUDA_VISIBLE_DEVICES"
        )
    if config.resume is not None:
        raise ConfigError(f"resume={config.resume}: a study goes on by itself; type its first command again")


@dataclass(slots=True)
class _Worker:
    """A worker process and those that stood in its place before."""

    slot: int
    command: list[str]
    log: Path
    threads: str
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0

    def start(self) -> None:
        """In a session of its own: the terminal's Ctrl-C reaches the study alone, which passes it on once."""
        environment = {**os.environ, "OMP_NUM_THREADS": self.threads, "PYTHONUNBUFFERED": "1"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = _start(self.command, log, environment)

    def last_words(self) -> str:
        """The last line it wrote."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "")


def _start(command: Sequence[str], log: IO[bytes], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )


def _supervise(trials: Trials, command: Sequence[str]) -> None:
    """Keep the workers alive until nothing is left to do, and say what they do."""
    progress = _Progress(trials)
    workers = _workers(trials, command, left=trials.sweep.trials - progress.ended)
    if not workers:
        return
    count = f"{len(workers)} worker{'s' if len(workers) > 1 else ''}, OMP_NUM_THREADS={workers[0].threads}"
    console().print(f"study {trials.folder}: {count}, what they print is in {workers[0].log.parent}", markup=False)
    with _passing_on_signals(workers) as received:
        for worker in workers:
            worker.start()
        running = list(workers)
        while running:
            time.sleep(POLL_SECONDS)
            running = [worker for worker in running if _goes_on(worker, trials.sweep.retries, stopping=bool(received))]
            progress.tell()
    if received:
        console().print("interrupted; the same command goes on", markup=False)
        raise Interrupted(received[0])
    if not trials.is_done():
        raise StudyError(f"{trials.folder}: every worker died too often; {workers[0].log} tells why")


def _workers(trials: Trials, command: Sequence[str], *, left: int) -> list[_Worker]:
    """As many as are wanted and have something to do."""
    count = max(0, min(trials.sweep.workers, left))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    own = ("sweep.workers=", "sweep.parent=")
    words = [word for word in command if not word.startswith(own)]
    return [
        _Worker(
            slot=slot,
            command=[*words, "sweep.workers=0", f"sweep.parent={os.getpid()}"],
            log=trials.folder / "logs" / f"{platform.node()}-{os.getpid()}-{slot}.log",
            threads=os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // trials.sweep.workers)),
        )
        for slot in range(count)
    ]


def _goes_on(worker: _Worker, retries: int, *, stopping: bool) -> bool:
    """Whether the worker still works; one that died is replaced."""
    code = worker.process.poll() if worker.process else None
    if code is None:
        return True
    if code == 0 or stopping:
        return False
    worker.deaths += 1
    again = worker.deaths <= retries
    how = f"signal {-code}" if code < 0 else f"exit code {code}: {worker.last_words()}"
    then = f"started again ({worker.deaths} of {retries})" if again else "given up"
    console().print(f"worker {worker.slot} ended by {how}; {then}", markup=False)
    if again:
        worker.start()
    return again


@contextmanager
def _passing_on_signals(workers: Sequence[_Worker]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM go on to the workers, which save their state; yields the signals received."""
    received: list[int] = []

    def pass_on(number: int, _frame: Any) -> None:
        if not received:
            os.write(2, b"\nstopping as soon as each trial has saved its state; once more to stop at once\n")
        received.append(number)
        for worker in workers:
            if worker.process and worker.process.poll() is None:
                worker.process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(slots=True)
class _Progress:
    """Says once of each trial how it ended, whoever trained it."""

    trials: Trials
    _told: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._told.update(trial.number for trial in self._ended())

    @property
    def ended(self) -> int:
        """Trials that have ended."""
        return len(self._ended())

    def tell(self) -> None:
        """Print a line for each trial that ended since the last call."""
        ended = self._ended()
        for trial in ended:
            if trial.number not in self._told:
                self._told.add(trial.number)
                console().print(self._line(trial, len(ended)), markup=False, soft_wrap=True)

    def _ended(self) -> list[FrozenTrial]:
        return [trial for trial in self.trials.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def _line(self, trial: FrozenTrial, ended: int) -> str:
        space = self.trials.sweep.space
        values = " ".join(
            f"{space[name].key}={value:.4g}" if isinstance(value, float) else f"{space[name].key}={value}"
            for name, value in trial.params.items()
        )
        objective = "" if trial.value is None else f"  {self.trials.config.objective} {trial.value:.4f}"
        again = trial.user_attrs.get("pickups", 0)
        picked_up = f"  (picked up {again} {'time' if again == 1 else 'times'})" if again else ""
        reason = f"  {trial.user_attrs['error']}" if "error" in trial.user_attrs else ""
        state = _STATES[trial.state]
        total = self.trials.sweep.trials
        return f"[{ended}/{total}] trial {trial.number} {state}{objective}  {values}{picked_up}{reason}"
