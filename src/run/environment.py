"""env.json: what a run ran on, so that it can be told apart and repeated."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from src import __version__
from src.run.hardware import Hardware

_PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "albumentations",
    "opencv-python-headless", "numpy", "msgspec",
)  # fmt: skip


def describe_environment(hardware: Hardware, *, data_name: str, is_sample: bool, fingerprint: str) -> dict[str, Any]:
    """Versions, device, precision really used, git commit, data fingerprint."""
    return {
        "version": __version__,
        "git_commit": git_commit(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": hardware.device,
        "device_name": hardware.device_name,
        "precision": hardware.precision,
        "precision_reason": hardware.reason,
        "threads": hardware.threads,
        "num_workers": hardware.num_workers,
        "cpu_count": os.cpu_count(),
        "data": data_name,
        "builtin_sample": is_sample,
        "data_fingerprint": fingerprint,
    }


def git_commit(folder: Path) -> str | None:
    """Commit of the checkout at ``folder`` with ``+changes`` where it is dirty; None outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+changes", "--abbrev=40", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
