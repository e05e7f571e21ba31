"""What a process has to know of itself: its rank, which cores are free, what to do with memory and garbage."""

import ctypes
import gc
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def is_first_process() -> bool:
    """Whether this is the one of several training processes (DDP) that writes; torchrun and Lightning number them."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


@contextmanager
def importing() -> Iterator[None]:
    """Import much at once, without the garbage collector.

    Importing torch and Lightning makes half a million objects that stay; the collector looks through all of them again
    and again as they come (0.9 of 5.6 s), at every full collection later and at the end. What is there when this block
    ends is left out of collections from then on. Once torch is there, nothing is done: a second job of a sweep would
    make the remains of the first one permanent.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def idle_cores(seconds: float = 0.2, stat: Path = Path("/proc/stat")) -> int | None:
    """How many of this process's cores nobody else uses just now, at least one; None where the system does not say.

    OpenMP's threads spin while they wait for one another, which is the fastest way on free cores and the slowest beside
    a busy neighbour, whose core one of them has to share: a training step of MobileNetV2 (96 px, batch 32, float32, two
    cores) ran at 105, 117 and 113 images per second on a quiet machine and at 33 beside one busy process, where one
    thread alone ran at 72; threads that sleep instead (OMP_WAIT_POLICY=PASSIVE) gave 51, 62 and 62 throughout. So
    the number of threads follows the free cores instead.

    Args:
        seconds: how long to look.
        stat: Linux's counters of every core.
    """
    if not stat.is_file():
        return None
    before, start = _idle_ticks(stat), time.perf_counter()
    time.sleep(seconds)
    after = _idle_ticks(stat)
    ticks = (time.perf_counter() - start) * os.sysconf("SC_CLK_TCK")
    return max(1, round(sum(after[core] - before[core] for core in after) / ticks))


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that can be had without swapping; half of the memory where the system does not say.

    Args:
        meminfo: Linux's table of its memory.
    """
    if meminfo.is_file():
        rows = (line.split() for line in meminfo.read_text().splitlines())
        for row in rows:
            if row[0] == "MemAvailable:":
                return int(row[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _idle_ticks(stat: Path) -> dict[int, int]:
    """Idle and input-wait ticks of every core this process may run on."""
    rows = (line.split() for line in stat.read_text().splitlines() if re.match(r"cpu\d", line))
    ticks = {int(row[0].removeprefix("cpu")): int(row[4]) + int(row[5]) for row in rows}
    return {core: count for core, count in ticks.items() if core in os.sched_getaffinity(0)}


def keep_freed_memory() -> bool:
    """Tell malloc to keep freed memory; True where it took effect.

    By default every activation above 128 kB is returned to the system and faulted back in at the next step, which is
    half of the time of a CPU training step. Must run before the first large allocation. Elsewhere (musl, macOS,
    Windows) nothing is done.
    """
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def release_freed_memory() -> bool:
    """Give what is free back to the system; True where it took effect.

    Loader processes are forks: pages that the parent reuses after the fork are copied, so that a parent full of freed
    activations would be held twice.
    """
    gc.collect()
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt") else None
