"""Who trains which trial: dead processes are found out, living ones are left alone."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from src.run.claims import Claims, Owner, this_place


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path / "claims", stale_seconds=60)


def held_by(claims: Claims, *, pid: int, place: str) -> None:
    claims.folder.mkdir(exist_ok=True)
    (claims.folder / "3.json").write_text(json.dumps({"token": "t", "place": place, "pid": pid}))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_claims__ours_is_not_abandoned_until_released(claims: Claims) -> None:
    assert claims.is_abandoned(3)
    owner = claims.take(3)
    assert claims.owner(3) == owner
    assert owner.pid == os.getpid()
    assert not claims.is_abandoned(3)
    claims.release(3)
    assert claims.owner(3) is None
    assert claims.is_abandoned(3)
    claims.release(3)


def test_claims__a_dead_process_of_this_machine_is_known_at_once(claims: Claims) -> None:
    held_by(claims, pid=dead_pid(), place=this_place())
    assert claims.is_abandoned(3)


def test_claims__a_process_that_died_and_was_not_waited_for_counts_as_dead(claims: Claims) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # ends when the process does
    held_by(claims, pid=process.pid, place=this_place())
    deadline = time.monotonic() + 20
    while not claims.is_abandoned(3) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claims.is_abandoned(3)
    process.wait()


def test_claims__the_same_number_on_another_machine_says_nothing(claims: Claims) -> None:
    held_by(claims, pid=dead_pid(), place="another machine")
    assert not claims.is_abandoned(3)
    assert not claims.is_abandoned(3)


def test_claims__another_machine_counts_as_dead_when_its_file_stays_as_it_is(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_by(claims, pid=1, place="another machine")
    now = [100.0]
    monkeypatch.setattr("src.run.claims.time.monotonic", lambda: now[0])
    assert not claims.is_abandoned(3)
    now[0] += 59
    assert not claims.is_abandoned(3)
    os.utime(claims.folder / "3.json", (5, 5))  # a sign of life; whatever its clock says
    assert not claims.is_abandoned(3)
    now[0] += 59
    assert not claims.is_abandoned(3)
    now[0] += 2
    assert claims.is_abandoned(3)


def test_kept_fresh__shows_life_and_stops_with_the_block(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims", stale_seconds=0.08)
    owner = claims.take(3)
    path = tmp_path / "claims/3.json"
    os.utime(path, (5, 5))
    with claims.kept_fresh(3, owner, on_loss=lambda: pytest.fail("not lost")):
        deadline = time.monotonic() + 20
        while path.stat().st_mtime == 5 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert path.stat().st_mtime > 5
    assert not [thread for thread in threading.enumerate() if thread.name == "claim-3"]


def test_kept_fresh__notices_once_that_another_took_over(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims", stale_seconds=0.04)
    owner = claims.take(3)
    lost = threading.Event()
    with claims.kept_fresh(3, owner, on_loss=lost.set):
        other = Claims(tmp_path / "claims", stale_seconds=60).take(3)
        assert lost.wait(20)
    assert claims.owner(3) == other != owner
    assert isinstance(other, Owner)
