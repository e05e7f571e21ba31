"""What a training run shows while it works: a Rich bar in a terminal, a line per epoch elsewhere."""

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from src.runfolder import Record


class EpochBar(pl.Callback):
    """One bar for the epoch in progress, with loss and speed, refreshed a few times a second."""

    def __init__(self, console: Console, refresh_seconds: float = 0.25) -> None:
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  {task.fields[speed]:.0f} img/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._refresh_seconds = refresh_seconds
        self._task: Any = None
        self._started = self._shown = 0.0
        self._images = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a new bar."""
        self._progress.start()
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._task = self._progress.add_task("", total=trainer.num_training_batches, epoch=epoch, loss=0.0, speed=0.0)
        self._started = self._shown = time.perf_counter()
        self._images = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; reading the loss waits for the device, so only when it is redrawn."""
        self._images += len(batch["image"])
        now = time.perf_counter()
        if self._task is None or (now - self._shown < self._refresh_seconds and not trainer.is_last_batch):
            return
        self._shown = now
        # Lightning has divided the loss by the batches of an optimizer step
        loss = float(outputs["loss"]) * trainer.accumulate_grad_batches if outputs else float("nan")
        self._progress.update(
            self._task, completed=batch_idx + 1, loss=loss, speed=self._images / (now - self._started)
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away; the epoch's line stays."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._progress.stop()


def epoch_line(record: Record, *, max_epochs: int, monitor_split: str) -> str:
    """The line an epoch leaves behind."""
    parts = [
        f"epoch {record['epoch'] + 1}/{max_epochs}",
        f"loss {record['train/loss']:.4f}",
        f"train micro-F1 {record['train/f1_micro']:.3f}",
        f"{monitor_split} mAP {record[f'{monitor_split}/map']:.3f}",
        f"micro-F1 {record[f'{monitor_split}/f1_micro']:.3f}",
        f"macro-F1 {record[f'{monitor_split}/f1_macro']:.3f}",
        f"{record['images_per_second']:.0f} img/s",
        f"{record['seconds']:.0f} s",
    ]
    if monitor_split != "val" and "val/map" in record:
        parts.insert(-2, f"val mAP {record['val/map']:.3f}")
    return "  ".join(parts)
