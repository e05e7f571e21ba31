"""The trials of one study, shared by any number of processes and machines: what is left to do, and what came of it."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from src.config.schema.errors import UserError
from src.config.schema.sweep import StudyConfig, trial_overrides
from src.run.claims import Claims, Owner
from src.run.failures import note_failed
from src.run.sampling import build_pruner, build_sampler, suggest
from src.runfolder import RunFolder, replacing

_LOCK_SECONDS = 60
"""A lock that is held for longer belonged to a process that was killed."""


class StudyError(UserError):
    """A study that cannot go on as asked."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A trial that this process is to train."""

    trial: optuna.Trial
    overrides: list[str]
    """Its command line."""
    folder: Path
    owner: Owner

    @property
    def number(self) -> int:
        """Counted from 0."""
        return self.trial.number


class Trials:
    """A study's trials and who trains them.

    Args:
        config: what to train and how to search.
        base: overrides that all trials share.
        identity: what makes two studies the same, to be compared with those who began it.

    Raises:
        StudyError: the folder or the storage belongs to another study.
    """

    def __init__(self, config: StudyConfig, base: Sequence[str], identity: Mapping[str, Any]) -> None:
        self.config, self.sweep, self.base = config, config.sweep, list(base)
        self.folder = study_folder(config)
        self.claims = Claims(self.folder / "claims", self.sweep.stale_seconds)
        self.folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._locked():
            key = _same_study(self.folder, identity)
            storage = _open_storage(self.folder, self.sweep.storage)
            self.study = optuna.create_study(
                storage=storage,
                study_name=self.folder.name,
                direction="maximize",
                load_if_exists=True,
                pruner=build_pruner(self.sweep, max_epochs=config.trainer.max_epochs),
            )
            if self.study.user_attrs.get("folder", key) != key:
                raise StudyError(
                    f"sweep.storage={self.sweep.storage}: holds a study {self.folder.name} of another folder; "
                    "share that folder too, or take another sweep.name"
                )
            if "folder" not in self.study.user_attrs:
                self.study.set_user_attr("folder", key)

    def take(self) -> Taken | None:
        """A trial to train now: one that was left alone, else a new one; None where neither is left."""
        with self._locked():
            known = self.study.get_trials(deepcopy=False)
            for trial in known:
                left = trial.state == TrialState.RUNNING and self.claims.is_abandoned(trial.number)
                if left and (taken := self._pick_up(trial)):
                    return taken
            if len(known) >= self.sweep.trials:
                return None
            self.study.sampler = build_sampler(self.sweep, trials=len(known))
            return self._begin(self.study.ask())

    def is_done(self) -> bool:
        """Whether all trials have ended."""
        states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
        return len(states) >= self.sweep.trials and TrialState.RUNNING not in states

    def finish(self, taken: Taken, *, state: TrialState, value: float | None = None, reason: str = "") -> None:
        """Note how a trial ended, unless another process has taken it over meanwhile.

        Args:
            taken: by this process.
            state: COMPLETE, PRUNED or FAIL.
            value: the objective, of a complete trial.
            reason: of a failure.
        """
        with self._locked():
            if self.claims.owner(taken.number) != taken.owner:
                return
            if reason:
                note_failed(taken.folder, name=self.config.name, overrides=taken.overrides, reason=reason)
                taken.trial.set_user_attr("error", reason)
            self.study.tell(taken.number, value, state=state)
            self.claims.release(taken.number)

    def release(self, taken: Taken) -> None:
        """Leave a trial that was interrupted to whoever comes next."""
        with self._locked():
            if self.claims.owner(taken.number) == taken.owner:
                self.claims.release(taken.number)

    def _begin(self, trial: optuna.Trial) -> Taken:
        owner = self.claims.take(trial.number)
        values = suggest(trial, self.sweep.space)
        overrides = trial_overrides(self.base, self.sweep.space, values)
        return Taken(trial, overrides, self.folder / str(trial.number), owner)

    def _pick_up(self, left: FrozenTrial) -> Taken | None:
        """Take a trial over; None where its processes have died so often that it counts as failed."""
        died = self.claims.owner(left.number) is not None
        self.study.sampler = build_sampler(self.sweep, trials=left.number)
        taken = self._begin(optuna.Trial(self.study, self._id(left.number)))
        if not died:
            return taken
        times = int(left.user_attrs.get("pickups", 0))
        if times < self.sweep.retries:
            taken.trial.set_user_attr("pickups", times + 1)
            return taken
        reason = f"its process died {times + 1} times (killed, perhaps for memory)"
        note_failed(taken.folder, name=self.config.name, overrides=taken.overrides, reason=reason)
        taken.trial.set_user_attr("error", reason)
        self.study.tell(left.number, state=TrialState.FAIL)
        self.claims.release(left.number)
        return None

    def _id(self, number: int) -> int:
        storage: BaseStorage = self.study._storage
        return storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with _held(JournalFileOpenLock(str(self.folder / "study"), grace_period=_LOCK_SECONDS)):
            yield


def study_folder(config: StudyConfig) -> Path:
    """Where a study lies."""
    return Path(config.output_dir) / "studies" / (config.sweep.name or config.name)


def _same_study(folder: Path, identity: Mapping[str, Any]) -> str:
    """Key of the study in this folder, written down when it begins.

    Raises:
        StudyError: it was begun with something else.
    """
    path = folder / "study.json"
    if not path.is_file():
        key = uuid.uuid4().hex
        with replacing(path, "w") as file:
            json.dump({"key": key, **identity}, file, indent=2)
        return key
    begun = RunFolder(folder).read_json("study.json")
    wanted = json.loads(json.dumps(identity))
    if differing := [name for name in wanted if begun.get(name) != wanted[name]]:
        name = differing[0]
        raise StudyError(
            f"{folder}: was begun with other {name} ({_brief(begun.get(name), wanted[name])}); "
            "sweep.name=ANOTHER begins another study"
        )
    return str(begun["key"])


def _brief(begun: Any, wanted: Any) -> str:
    """What differs, of two lists or mappings."""
    if isinstance(begun, list):
        return f"{' '.join(x for x in begun if x not in wanted) or 'none'}, not " + (
            " ".join(x for x in wanted if x not in begun) or "none"
        )
    if isinstance(begun, Mapping):
        return ", ".join(sorted(key for key in begun.keys() | wanted.keys() if begun.get(key) != wanted.get(key)))
    return f"{begun}, not {wanted}"


def study_identity(config: StudyConfig, material: Sequence[str]) -> dict[str, Any]:
    """What must agree for a command to go on with a study: the overrides that change results, and the space."""
    space = {name: asdict(parameter) for name, parameter in config.sweep.space.items()}
    return {"overrides": sorted(material), "ranges": space}


def _open_storage(folder: Path, url: str | None) -> BaseStorage:
    if url is not None:
        return optuna.storages.get_storage(url)
    path = folder / "journal.log"
    lock = JournalFileOpenLock(str(path))  # the other kind hangs where a relative path's lock was left behind
    with _held(lock):
        _cut_torn_line(path)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _cut_torn_line(path: Path) -> None:
    """Drop what a crash of the machine left of the last line; Optuna would write on behind it and never read on."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


@contextmanager
def _held(lock: JournalFileOpenLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
