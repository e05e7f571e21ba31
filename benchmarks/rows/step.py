"""What Lightning and our callbacks add to a training step.

Both sides run the same step (uint8 images, forward, loss, backward, AdamW, one-cycle schedule) on the same batches in
memory. Ours has around it what a run has: Lightning's loop, weight averaging, counting of training scores, the watch
over numerics, records, checkpoints, signals, the seeding of dropout. Timed from the end of the third step on.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from benchmarks.findings import Finding, per_item
from benchmarks.measuring import Spent, Turns, interleave
from benchmarks.settings import Settings
from src.callbacks.checkpoint_io import AtomicCheckpointIO
from src.callbacks.checkpoints import RunCheckpoint
from src.callbacks.ema import EMA
from src.callbacks.loaders import StartLoaders
from src.callbacks.numerics import WatchNumerics
from src.callbacks.records import EpochRecords
from src.callbacks.signals import StopOnSignal
from src.config.schema.model import MobileNetV2Config
from src.config.schema.optim import AdamWConfig, OneCycleConfig
from src.losses.modules import BCELoss
from src.models.build import build_model
from src.models.classifier import Classifier
from src.models.preprocess import Normalize
from src.optim.build import build_optimizer, build_schedule
from src.optim.groups import param_groups
from src.process import keep_freed_memory
from src.runfolder import RunFolder
from src.task import MultiLabelTask, TaskInfo

CLASSES = 80
PEER = "bare PyTorch loop, same step"
WARMUP = 3
Batch = dict[str, Tensor]


def measure_step(settings: Settings) -> list[Finding]:
    """The share at a real step, and the bare milliseconds around an empty one."""
    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    batch, side, steps = (4, 32, 4) if settings.small else (32, 224, 10)
    real = _turns(_mobilenet, batch, side, steps, settings.repeats)
    empty = _turns(_nothing, 1, 8, 20 if settings.small else 300, settings.repeats)
    what = f"step of MobileNetV2, {side} px, batch {batch}"
    return [
        Finding(
            row="step", what=what, peer=PEER, rule="overhead", target=0.05,
            **per_item(real, settings.clock, items=steps, unit="step"),
        ),
        Finding(
            row="step", what="step of an empty network", peer=PEER,
            **per_item(empty, settings.clock, items=20 if settings.small else 300, unit="step"),
        ),
    ]  # fmt: skip


def _turns(build: Any, batch: int, side: int, steps: int, repeats: int) -> Turns:
    batches = [_batch(batch, side, seed) for seed in range(4)]
    return interleave(
        lambda: _ours(build(), batches, steps), lambda: _bare(build(), batches, steps), repeats=repeats, warmup=0
    )


def _mobilenet() -> Classifier:
    torch.manual_seed(0)
    return build_model(MobileNetV2Config(), num_classes=CLASSES)


def _nothing() -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, CLASSES))
    return Classifier(Normalize(), network, head_name="2", stage_names=())


def _batch(size: int, side: int, seed: int) -> Batch:
    random = np.random.default_rng(seed)
    images_BHWC = torch.from_numpy(random.integers(0, 256, (size, side, side, 3), dtype=np.uint8))
    ids_B = torch.arange(size) + seed * size
    return {
        "image": images_BHWC.permute(0, 3, 1, 2),
        "target": torch.from_numpy((random.random((size, CLASSES)) < 0.04).astype(np.uint8)),
        "image_id": ids_B,
        "row": ids_B,
        "skipped": torch.zeros(0, dtype=torch.int64),
    }


def _bare(model: Classifier, batches: Sequence[Batch], steps: int) -> Spent:
    optimizer_cfg = AdamWConfig()
    optimizer = build_optimizer(optimizer_cfg, param_groups(model, head=model.head, cfg=optimizer_cfg))
    total = steps + WARMUP
    schedule = build_schedule(OneCycleConfig(), optimizer, total_steps=total, steps_per_epoch=total).scheduler
    loss_function = BCELoss()
    started = (0.0, 0.0)
    model.train()
    for step in range(total):
        batch = batches[step % len(batches)]
        loss = loss_function(model(batch["image"]), batch["target"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step == WARMUP - 1:
            started = _now()
    return _since(started)


def _ours(model: Classifier, batches: Sequence[Batch], steps: int) -> Spent:
    info = TaskInfo(tuple(f"class {i}" for i in range(CLASSES)), np.zeros(CLASSES, np.int64), "holdout", 0, {})
    task = MultiLabelTask(
        model, BCELoss(), info, model_cfg=MobileNetV2Config(), optimizer_cfg=AdamWConfig(),
        scheduler_cfg=OneCycleConfig(), tuned=lambda *_: {}, objective="map",
    )  # fmt: skip
    timer = _Timer()
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        checkpoint = RunCheckpoint(run, objective="holdout/map", every_steps=0, patience=0)
        records = EpochRecords(run, lambda _: None)
        watched = [EMA(0.9), StartLoaders(), WatchNumerics(), records, checkpoint, StopOnSignal(checkpoint), timer]
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=1, callbacks=watched, plugins=[AtomicCheckpointIO()], logger=[],
            num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(task, _Repeat(batches, steps + WARMUP), [_Repeat(batches, 1)])
    return timer.spent


class _Repeat:
    """A loader of batches that are there already."""

    def __init__(self, batches: Sequence[Batch], length: int) -> None:
        self.batches, self.length = batches, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Any:
        return (self.batches[index % len(self.batches)] for index in range(self.length))


class _Timer(pl.Callback):
    """Stands last, so that the others' work of a step is done when it looks at the clock."""

    def __init__(self) -> None:
        self.started = (0.0, 0.0)
        self.spent = Spent(0.0, 0.0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002  Lightning's signature
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Begin after the warm-up, end with the last step."""
        if batch_idx == WARMUP - 1:
            self.started = _now()
        if trainer.is_last_batch:
            self.spent = _since(self.started)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(started: tuple[float, float]) -> Spent:
    now = _now()
    return Spent(now[0] - started[0], now[1] - started[1])
