"""End to end: how much of a step's speed is left when its batches come from somewhere."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import python, run_process
from benchmarks.training_step import Step, StepCase, finish
from src.config.schema.data import AugmentConfig, CocoConfig
from src.config.schema.training import DebugConfig
from src.data.datamodule import MultiLabelDataModule

SOURCES: dict[str, dict[str, str]] = {
    "files": {},
    "files, decoded on the device": {"decode": "device"},
    "jpeg cache": {"cache": "jpeg"},
    "raw cache": {"cache": "raw"},
    "cache on the device": {"cache": "device"},
}
AUGMENT: dict[str, Any] = {"crop_min_scale": 0.5, "brightness": 0.2, "contrast": 0.2}


@dataclass(frozen=True, slots=True)
class Fed:
    """What came of it."""

    images_per_second: float
    waiting: float
    """Share of the time in which the host waited for the loader; it may have been ahead of the device."""


def prepare_caches(root: Path, cache_dir: Path, *, size: int) -> None:
    """Write both caches beforehand, in processes of their own, as a user would."""
    policy = [f"augment.{key}={value}" for key, value in AUGMENT.items()]
    for kind in ("jpeg", "raw"):
        words = (f"data.root={root}", f"data.cache={kind}", f"data.image_size={size}", f"cache_dir={cache_dir}")
        run_process(python("-m", "src.prepare", "data=coco2017", *words, *policy))


def loader_of(
    source: str, root: Path, cache_dir: Path, case: StepCase, device: torch.device, *, workers: int
) -> MultiLabelDataModule:
    """The data of a run."""
    settings: dict[str, Any] = {"image_size": case.size, "batch_size": case.batch, "holdout": 0.0, **SOURCES[source]}
    data = MultiLabelDataModule(
        CocoConfig(root=str(root), **settings),
        AugmentConfig(**AUGMENT),
        DebugConfig(),
        seed=0,
        cache_dir=cache_dir,
        num_workers=workers,
        pin_memory=device.type == "cuda",
    )
    data.setup("fit")
    return data


def feed(data: MultiLabelDataModule, step: Step, device: torch.device, *, batch: int, seconds: float) -> Fed:
    """Train through an epoch to warm up, then through whole epochs until ``seconds`` have passed."""
    loader = data.train_dataloader()
    _consume(iter(loader), data, step, device)
    images, waited, started = 0, 0.0, time.perf_counter()
    while images == 0 or time.perf_counter() - started < seconds:
        batches, waiting = _consume(iter(loader), data, step, device)
        images, waited = images + batches * batch, waited + waiting
    elapsed = time.perf_counter() - started
    return Fed(images / elapsed, waited / elapsed)


def _consume(batches: Iterator[Any], data: MultiLabelDataModule, step: Step, device: torch.device) -> tuple[int, float]:
    count, waited = 0, 0.0
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            break
        step(data.transfer_batch_to_device(batch, device, 0))
        count += 1
    finish(device)
    return count, waited
