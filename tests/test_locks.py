"""Locks as other processes see them."""

import subprocess
import sys
from pathlib import Path

from src.locks import acquired, is_locked, locked, release

HOLD = """
import sys
from pathlib import Path
from src.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_is_locked__while_it_is_held_and_not_before_or_after(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
    assert path.exists()
    assert not is_locked(path)


def test_locked__a_killed_process_gives_its_own_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with path.open("a") as file:
        assert not acquired(file)
        assert is_locked(path)
        holder.kill()
        holder.wait(timeout=60)
        assert acquired(file)
        assert is_locked(path)
        release(file)
        assert not is_locked(path)


def test_is_locked__does_not_disturb_who_asks_at_the_same_time(tmp_path: Path) -> None:
    """Two that ask, and one that then locks without waiting."""
    path = tmp_path / "lock"
    path.touch()
    assert not any(is_locked(path) for _ in range(3))
    with path.open("a") as file:
        assert acquired(file)
