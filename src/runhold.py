"""One process at a time trains a run: two would overwrite each other's checkpoints and records."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from src.config.schema.errors import UserError
from src.locks import acquired, is_locked, release

_FILE = ".training"
PATIENCE = 8.0
"""Seconds. Loader processes inherit the lock; those of a trainer that was killed notice within five that it is gone,
and the trainer itself takes seconds to give its memory back."""
_AT_ONCE = 0.5
"""Seconds that nobody is told of."""


class RunHeldError(UserError):
    """A run that another process is training."""


@contextmanager
def holding(run: Path, *, patience: float = PATIENCE, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Be the one process that trains the run in this folder; a process that dies gives it back.

    Args:
        run: its folder, which exists.
        patience: seconds to wait for a killed trainer and its loader processes to be gone.
        on_wait: told once, in a sentence, where there is something to wait for.

    Raises:
        RunHeldError: another process trains it.
    """
    path = run / _FILE
    start = time.monotonic()
    while not (file := _locked(path)):
        waited = time.monotonic() - start
        if waited > patience:
            raise RunHeldError(f"{run}: {_words(path)} is training this run; wait for its end, or stop it first")
        if on_wait and waited > _AT_ONCE:
            on_wait(f"{run} is held by {_words(path)}; waiting {patience:.0f} s in case that is ending")
            on_wait = None
        time.sleep(0.1)
    with file:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            release(file)


def held_by(run: Path) -> str:
    """Which process trains the run, in words; empty where none does."""
    path = run / _FILE
    try:
        return _words(path) if is_locked(path) else ""
    except OSError:  # a file system without locks
        return ""


def _locked(path: Path) -> IO[str] | None:
    """The lock file, open and ours; None where another process has it."""
    file = path.open("a+")
    try:
        if acquired(file) and _lies_at(path, file):
            return file
    except OSError:  # a file system without locks: as if there were none
        return file
    file.close()
    return None


def _lies_at(path: Path, file: IO[str]) -> bool:
    """Whether it has not been removed, by the holder before, between opening and locking it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _words(path: Path) -> str:
    try:
        return f"process {int(path.read_text())}"
    except (OSError, ValueError):  # not written yet, or removed just now
        return "another process"
