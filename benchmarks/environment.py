"""Where and when the numbers were taken: without it they mean nothing."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT
from benchmarks.settings import usable_cores

_PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "albumentations",
    "opencv-python-headless", "pillow", "numpy", "msgspec", "pycocotools", "onnxruntime", "openvino",
)  # fmt: skip


def environment(threads: int) -> dict[str, Any]:
    """CPU, cores, versions, commit, date, and how busy the machine was when it began."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": usable_cores(),
        "threads": threads,
        "load_at_start": list(os.getloadavg()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "git_commit": _commit(),
    }


def _cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if cpuinfo.is_file() and (found := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        return found.group(1)
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    words = ["git", "describe", "--always", "--dirty=+changes", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
