"""One record per epoch in metrics.jsonl and metrics.csv, and to whatever loggers the run has."""

import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from src.runfolder import Record, RunFolder


class EpochRecords(pl.Callback):
    """Collects an epoch's metrics, learning rate and speed.

    Stands before the checkpoint callback: an epoch that is in a checkpoint is also in the record. Epochs that a killed
    run had recorded after its last checkpoint are dropped when it resumes, since they are trained again.

    Args:
        folder: where to write.
        announce: called with each record, e.g. to print a line.
    """

    def __init__(self, folder: RunFolder, announce: Callable[[Record], None]) -> None:
        self.folder, self.announce = folder, announce
        self.records: list[Record] = []
        self.train_seconds, self.train_images = 0.0, 0
        self.epochs = 0
        self.earlier_seconds, self._created = 0.0, time.perf_counter()
        self._epoch_seconds, self._epoch_images, self._batch_start = 0.0, 0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """Time spent so far, across resumes."""
        seconds = self.earlier_seconds + time.perf_counter() - self._created
        return {
            "train_seconds": self.train_seconds + self._epoch_seconds,
            "train_images": self.train_images + self._epoch_images,
            "seconds": seconds,
            "epochs": self.epochs,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the time spent before."""
        self.train_seconds, self.train_images = state_dict["train_seconds"], state_dict["train_images"]
        self.earlier_seconds, self.epochs = state_dict["seconds"], state_dict["epochs"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the records of epochs that lie before the checkpoint."""
        self.records = [record for record in self.folder.read_records() if record["epoch"] < trainer.current_epoch]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; it covers training steps and the wait for data, not validation."""
        self._epoch_seconds, self._epoch_images, self._batch_start = 0.0, 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count time and images."""
        now = time.perf_counter()
        if self._batch_start:
            self._epoch_seconds += now - self._batch_start
        self._batch_start = now
        self._epoch_images += len(batch["image"]) * trainer.world_size

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the record."""
        self.train_seconds += self._epoch_seconds
        self.train_images += self._epoch_images
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        record: Record = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": max(group["lr"] for group in trainer.optimizers[0].param_groups),
            "seconds": round(self._epoch_seconds, 3),
            "images_per_second": round(self._epoch_images / self._epoch_seconds, 2) if self._epoch_seconds else 0.0,
            **metrics,
        }
        self.records.append(record)
        self.epochs = trainer.current_epoch + 1
        self._epoch_seconds, self._epoch_images = 0.0, 0  # a checkpoint adds what an epoch has so far
        if trainer.is_global_zero:
            self.folder.write_records(self.records)
            self.announce(record)
        for logger in trainer.loggers:
            logger.log_metrics(
                {key: value for key, value in record.items() if key != "epoch"}, step=trainer.current_epoch
            )
