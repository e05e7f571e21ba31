"""What the process is told to suit training on a CPU: OpenMP to sleep while it waits, malloc to keep freed memory."""

import ctypes
import gc
import os
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def let_waiting_threads_sleep() -> None:
    """Tell OpenMP's threads not to spin while they wait; must run before torch is imported.

    With one busy neighbour on two cores, spinning threads starve each other: a MobileNetV2 step (96 px, batch 32, bf16)
    ran at 26 to 31 images per second with sleeping threads (two processes, four readings each) and at 2.6 to 4.8 with
    OpenMP's default (one process, four readings; another did not finish within 60 s). What the user has set in the
    environment stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


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
