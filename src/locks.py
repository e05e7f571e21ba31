"""Locks between processes, of the kernel's kind: a process that is killed gives its own back."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, waiting for whoever holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            release(file)


def is_locked(path: Path) -> bool:
    """Whether somebody, this process included, holds the lock file ``path``."""
    try:
        with path.open("r") as file:
            return not _free(file)
    except FileNotFoundError:
        return False


def acquired(file: IO[Any]) -> bool:
    """Whether this open file is locked now, for it alone; False where somebody else holds it.

    Raises:
        OSError: a file system without locks.
    """
    return _tried(file, fcntl.LOCK_EX)


def release(file: IO[Any]) -> None:
    """Give the lock back; closing is not enough, for a process that was forked meanwhile has the file open as well."""
    fcntl.flock(file, fcntl.LOCK_UN)


def _free(file: IO[Any]) -> bool:
    free = _tried(file, fcntl.LOCK_SH)  # shared: two that ask do not see each other
    if free:
        release(file)
    return free


def _tried(file: IO[Any], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
