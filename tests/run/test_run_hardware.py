"""Device and precision as asked for, on machines that we do not have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src import process
from src.config.schema.errors import ConfigError
from src.run import hardware
from src.run.hardware import Hardware, choose, cpu_has_bfloat16, peak_memory_mb
from tests.conftest import ROOT


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    """A machine with or without CUDA and bfloat16."""

    def pretend(*, cuda: bool, bf16: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
        monkeypatch.setattr(hardware, "cpu_has_bfloat16", lambda: bf16)

    return pretend


def resolved(device: str, precision: str, num_workers: int = -1) -> Hardware:
    return choose(device=device, precision=precision, num_threads=0, num_workers=num_workers)


@pytest.mark.parametrize(
    ("cuda", "bf16", "device", "precision", "expected"),
    [
        (False, True, "auto", "auto", ("cpu", "bf16-mixed")),
        (False, False, "auto", "auto", ("cpu", "32-true")),
        (False, False, "cpu", "bf16", ("cpu", "bf16-mixed")),
        (False, True, "cpu", "fp32", ("cpu", "32-true")),
        (True, True, "auto", "auto", ("cuda", "16-mixed")),
        (True, False, "cuda", "auto", ("cuda", "16-mixed")),
        (True, True, "cuda", "fp16", ("cuda", "16-mixed")),
        (True, True, "cuda", "bf16", ("cuda", "bf16-mixed")),
        (True, True, "cuda", "fp32", ("cuda", "32-true")),
        (True, True, "cpu", "auto", ("cpu", "bf16-mixed")),
        (True, False, "cpu", "auto", ("cpu", "32-true")),
    ],
)
def test_choose__resolves(machine, cuda, bf16, device, precision, expected) -> None:
    machine(cuda=cuda, bf16=bf16)
    found = resolved(device, precision)
    assert (found.device, found.precision) == expected
    assert found.device_name == "Some GPU" if expected[0] == "cuda" else found.device_name.startswith("CPU, ")
    assert found.reason


@pytest.mark.parametrize(
    ("cuda", "bf16", "device", "precision", "message"),
    [
        (False, True, "cuda", "auto", r"trainer\.device=cuda: no CUDA device is visible; trainer\.device=cpu, or auto"),
        (False, True, "auto", "fp16", r"trainer\.precision=fp16: needs CUDA; on a CPU trainer\.precision=bf16"),
        (True, True, "cpu", "fp16", r"trainer\.precision=fp16: needs CUDA"),
        (True, False, "cuda", "bf16", r"trainer\.precision=bf16: this GPU has no bfloat16; trainer\.precision=fp16"),
    ],
)
def test_choose__refuses_what_the_machine_cannot_do(machine, cuda, bf16, device, precision, message) -> None:
    machine(cuda=cuda, bf16=bf16)
    with pytest.raises(ConfigError, match=message):
        resolved(device, precision)


def test_choose__says_that_bfloat16_is_slow_where_the_cpu_has_none(machine) -> None:
    machine(cuda=False, bf16=False)
    assert "this CPU has no bfloat16 and takes many times as long" in resolved("cpu", "bf16").reason
    machine(cuda=False, bf16=True)
    assert resolved("cpu", "bf16").reason == "asked for"


def test_choose__workers_and_threads(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    machine(cuda=False, bf16=False)
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda pid: set(range(32)), raising=False)
    assert resolved("cpu", "fp32").num_workers == 1
    assert resolved("cpu", "fp32", num_workers=0).num_workers == 0
    assert resolved("cpu", "fp32", num_workers=5).num_workers == 5
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert resolved("cpu", "fp32").num_workers == 0
    machine(cuda=True, bf16=True)
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda pid: set(range(32)), raising=False)
    assert resolved("cuda", "fp32").num_workers == 16
    assert threads == []
    choose(device="cpu", precision="fp32", num_threads=3, num_workers=0)
    assert threads == [3]


def test_choose__takes_the_free_cores(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    machine(cuda=False, bf16=False)
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for idle in (3, 32, None):
        monkeypatch.setattr(hardware, "idle_cores", lambda found=idle: found)
        resolved("cpu", "fp32")
    assert threads == [3, 8, 8]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    resolved("cpu", "fp32")
    assert threads == [3, 8, 8]


def test_available_memory__as_the_system_says_or_half_of_all(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal:       24000 kB\nMemFree:         1000 kB\nMemAvailable:   16000 kB\n")
    assert process.available_memory(table) == 16_000 * 1024
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert process.available_memory(tmp_path / "none") == everything // 2
    assert 0 < process.available_memory() <= everything


def test_idle_cores__counts_the_cores_nobody_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds on four cores, of which the process may use three: one idle, one half idle, one busy."""
    stat, ticks = tmp_path / "stat", os.sysconf("SC_CLK_TCK")
    rows = "cpu  9 0 9 {0} 0\ncpu0 0 0 0 {0} 0\ncpu1 0 0 0 {1} {1}\ncpu2 0 0 0 0 0\ncpu3 0 0 0 {0} 0\nintr 5\n"
    stat.write_text(rows.format(0, 0))
    clock = iter((0.0, 10.0))
    monkeypatch.setattr(process.os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    monkeypatch.setattr(process.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(process.time, "sleep", lambda seconds: stat.write_text(rows.format(10 * ticks, 3 * ticks)))
    assert process.idle_cores(10.0, stat) == 2  # 1 + 0.6 + 0


def test_idle_cores__without_counters_there_is_no_answer(tmp_path: Path) -> None:
    assert process.idle_cores(0.0, tmp_path / "stat") is None


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="the system has no /proc/stat")
def test_idle_cores__is_between_one_and_all_on_this_machine() -> None:
    assert 1 <= process.idle_cores(0.05) <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu amx_bf16", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu sse2 avx2 avx512f avx512_vnni", False),
    ],
)
def test_cpu_has_bfloat16__reads_the_flags(tmp_path: Path, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\n")
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is expected


def test_cpu_has_bfloat16__no_such_file_is_a_no(tmp_path: Path) -> None:
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is False


def test_process__takes_effect_on_glibc_and_says_so() -> None:
    on_glibc = sys.platform.startswith("linux") and "glibc" in __import__("platform").libc_ver()[0]
    assert process.keep_freed_memory() is on_glibc
    assert isinstance(process.release_freed_memory(), bool)


def test_process__elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.sys, "platform", "darwin")
    assert process.keep_freed_memory() is False
    assert process.release_freed_memory() is False


IMPORTS = """
import gc, sys
from src.process import importing
with importing():
    while_importing = gc.isenabled()
    import torch
frozen = gc.get_freeze_count()
with importing():
    again = gc.isenabled()
print(while_importing, frozen > 10_000, gc.isenabled(), again, gc.get_freeze_count() == frozen)
"""


def test_importing__collects_nothing_then_and_leaves_out_what_came_once() -> None:
    """A second block does nothing once torch is there: what a job of a sweep leaves behind must be collected."""
    found = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == ["False", "True", "True", "True", "True"]


def test_importing__collects_again_after_an_import_that_failed() -> None:
    script = "import gc\nfrom src.process import importing\n"
    script += "try:\n    with importing(): import no_such_module\nexcept ImportError: print(gc.isenabled())"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.split() == ["True"]


def test_peak_memory__is_of_this_process() -> None:
    """An interpreter with torch takes more than 50 MB and less than 100 GB: the unit is right."""
    assert 50 < peak_memory_mb("cpu") < 100_000
