"""What this machine offers, and what the run takes of it: device, precision, workers."""

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from src.config.schema.errors import ConfigError
from src.process import idle_cores

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

SLOW = "asked for; this CPU has no bfloat16 and takes many times as long as in fp32"


@dataclass(frozen=True, slots=True)
class Hardware:
    """The device and precision that really run, and why."""

    device: str
    """cpu | cuda."""
    device_name: str
    precision: Precision
    reason: str
    """Why this precision."""
    threads: int
    num_workers: int


def choose(*, device: str, precision: str, num_threads: int, num_workers: int) -> Hardware:
    """Resolve ``auto`` values and refuse what this machine cannot do.

    Lightning turns ``16-mixed`` on a CPU into bf16 without a word; here the choice is ours and is reported.

    Raises:
        ConfigError: CUDA asked for and not there, fp16 on a CPU, bf16 on a GPU that lacks it.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ConfigError("trainer.device=cuda: no CUDA device is visible; trainer.device=cpu, or auto")
    chosen = ("cuda" if has_cuda else "cpu") if device == "auto" else device
    if threads := num_threads or _free_threads(chosen):
        torch.set_num_threads(threads)
    plugin, reason = _precision(chosen, precision)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # On a CPU the training step itself uses every core; one worker hides decoding, more would only take turns. On a GPU
    # 16 processes on 16 cores still did not keep up with the step from JPEGs (docs/performance.md).
    automatic = min(16, cores) if chosen == "cuda" else min(1, cores - 1)
    return Hardware(
        device=chosen,
        device_name=torch.cuda.get_device_name()
        if chosen == "cuda"
        else f"CPU, {(count := torch.get_num_threads())} thread{'s' * (count > 1)}",
        precision=plugin,
        reason=reason,
        threads=torch.get_num_threads(),
        num_workers=automatic if num_workers < 0 else num_workers,
    )


def _free_threads(device: str) -> int:
    """Threads of torch that have a core of their own; 0 leaves torch's choice, or the user's OMP_NUM_THREADS."""
    if device != "cpu" or "OMP_NUM_THREADS" in os.environ:
        return 0
    return min(torch.get_num_threads(), idle_cores() or torch.get_num_threads())


def _precision(device: str, wanted: str) -> tuple[Precision, str]:
    if wanted == "fp32":
        return "32-true", "asked for"
    if device == "cuda":
        if wanted == "bf16":
            if not torch.cuda.is_bf16_supported():
                raise ConfigError("trainer.precision=bf16: this GPU has no bfloat16; trainer.precision=fp16")
            return "bf16-mixed", "asked for"
        return "16-mixed", "asked for" if wanted == "fp16" else "CUDA"
    if wanted == "fp16":
        raise ConfigError("trainer.precision=fp16: needs CUDA; on a CPU trainer.precision=bf16, or auto")
    if wanted == "bf16":
        return "bf16-mixed", "asked for" if cpu_has_bfloat16() else SLOW
    if cpu_has_bfloat16():
        return "bf16-mixed", "this CPU has bfloat16"
    return "32-true", "this CPU has no bfloat16"


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether bfloat16 multiplies in hardware: AVX512-BF16 or AMX on x86, BF16 on Arm.

    Read from Linux's list of flags, since torch's own question has another name in each of the versions we support;
    elsewhere the answer is no, and training runs in float32.
    """
    flags = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


def peak_memory_mb(device: str) -> float:
    """Peak memory in MB (2^20): of the GPU where it trains, else of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)
