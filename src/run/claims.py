"""Which process trains which trial: a file each, kept fresh while the process lives.

Optuna's own heartbeat needs a database; these files need a folder that all machines share. Whoever takes a trial holds
the study's lock, so that nobody takes it twice.
"""

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from src.runfolder import replacing

BEATS = 8
"""Signs of life within the time after which a trial counts as left alone."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, for as long as it holds one trial."""

    token: str
    place: str
    """Machine, boot and process namespace: where ``pid`` means something."""
    pid: int


@dataclass(slots=True)
class Claims:
    """The claims of one study.

    Attributes:
        folder: holds a file per claimed trial.
        stale_seconds: without a sign of life for so long, the owner of a trial counts as dead.
    """

    folder: Path
    stale_seconds: float
    _seen: dict[int, tuple[str, int, float]] = field(default_factory=dict)
    """Trial to token, time stamp, and our own clock when we first saw these: clocks of other machines do not count."""

    def take(self, number: int) -> Owner:
        """Make the trial ours; the study's lock must be held."""
        owner = Owner(uuid.uuid4().hex, this_place(), os.getpid())
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._path(number), "w") as file:
            json.dump({"token": owner.token, "place": owner.place, "pid": owner.pid}, file)
        return owner

    def release(self, number: int) -> None:
        """Nobody's any more."""
        self._path(number).unlink(missing_ok=True)

    def owner(self, number: int) -> Owner | None:
        """Who holds the trial."""
        try:
            return Owner(**json.loads(self._path(number).read_text()))
        except FileNotFoundError:
            return None

    def is_abandoned(self, number: int) -> bool:
        """Whether nobody holds the trial, or only a process that is dead or has shown no life for too long.

        A process on this machine that is gone is known to be dead at once; one elsewhere once its file has not changed
        for ``stale_seconds`` of our own clock, so it takes two calls.
        """
        owner = self.owner(number)
        if owner is None:
            return True
        if owner.place == this_place() and not _is_alive(owner.pid):
            return True
        try:
            stamp = self._path(number).stat().st_mtime_ns
        except FileNotFoundError:
            return True
        token, known, since = self._seen.get(number, ("", 0, 0.0))
        if (token, known) != (owner.token, stamp):
            self._seen[number] = (owner.token, stamp, time.monotonic())
            return False
        return time.monotonic() - since > self.stale_seconds

    @contextmanager
    def kept_fresh(self, number: int, owner: Owner, *, on_loss: Callable[[], None]) -> Iterator[None]:
        """Show life from a thread of its own; ``on_loss`` is called once if somebody else took the trial over."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(self.stale_seconds / BEATS):
                if self.owner(number) != owner:
                    on_loss()
                    return
                os.utime(self._path(number))

        thread = threading.Thread(target=beat, name=f"claim-{number}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"


def this_place() -> str:
    """Where a process id of ours means something: host, boot and process namespace, the latter two on Linux."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [platform.node()]
    if boot.is_file():
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, but there
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """A dead process that nobody has waited for yet."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return False
