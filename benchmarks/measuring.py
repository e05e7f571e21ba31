"""Taking turns and looking at the clock.

Ours and the peer run alternately (A B A B ...) on the same input, so that a machine that gets slower or busier does so
for both, and each repeat gives a ratio of two neighbours in time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class BenchmarkError(RuntimeError):
    """A measured program failed, or two programs that must agree do not."""


class SkippedError(Exception):
    """A row cannot be measured on this machine; the message says why. No failure."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one turn took."""

    wall: float
    """Seconds."""
    cpu: float
    """CPU seconds of all threads; of a process with the children it waited for."""
    peak_mb: float = 0.0
    """Largest resident set of a process, MB (2^20); 0 where none was started."""
    answer: Any = None
    """What the program said on its last line, parsed as JSON."""

    def on(self, clock: str) -> float:
        """Seconds by ``wall`` or ``cpu``."""
        return self.wall if clock == "wall" else self.cpu


@dataclass(slots=True)
class Turns:
    """Repeats of both sides, in the order they ran."""

    ours: list[Spent] = field(default_factory=list)
    peers: list[Spent] = field(default_factory=list)


def interleave(ours: Callable[[], Spent], peers: Callable[[], Spent], *, repeats: int, warmup: int = 0) -> Turns:
    """Let both sides take turns.

    Args:
        ours: one turn of ours.
        peers: one turn of the peer.
        repeats: turns of each that count.
        warmup: turns of each before, that do not.
    """
    turns = Turns()
    for _ in range(warmup):
        ours()
        peers()
    for _ in range(repeats):
        turns.ours.append(ours())
        turns.peers.append(peers())
    return turns


def clocked(work: Callable[[], Any], *, times: int = 1) -> Spent:
    """One turn in this process: the mean of ``times`` of it, where one alone is over too soon to be read."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        work()
    return Spent((time.perf_counter() - wall) / times, (time.process_time() - cpu) / times)


def run_process(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, expect: Sequence[int] = (0,)
) -> Spent:
    """One turn in a fresh process.

    Memory is that of the largest single process. A forked process starts with its parent's peak, so callers must be
    small themselves: rows of this kind import nothing heavy.

    Args:
        command: program and arguments.
        environment: added to this process's.
        expect: exit codes that are right.

    Raises:
        BenchmarkError: another exit code.
    """
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode not in expect:
        raise BenchmarkError(f"{' '.join(command)}: exit code {process.returncode}\n{text[-2000:]}")
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Spent(wall, usage.ru_utime + usage.ru_stime, kilobytes / 1024, _last_line(text))


def inner(spent: Spent) -> Spent:
    """The part of a process's turn that the program measured itself, without starting Python and importing."""
    return Spent(spent.answer["wall"], spent.answer["cpu"], spent.peak_mb, spent.answer)


def python(*arguments: object) -> list[str]:
    """Command line of this Python."""
    return [sys.executable, *map(str, arguments)]


def _last_line(text: str) -> Any:
    lines = text.strip().splitlines()
    try:
        return json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None
