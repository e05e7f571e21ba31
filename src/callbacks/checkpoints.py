"""best.ckpt for whoever uses the model, last.ckpt for whoever resumes the run."""

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from src.callbacks.checkpoint_io import AtomicCheckpointIO
from src.runfolder import RunFolder

_ONLY_FOR_RESUME = ("optimizer_states", "lr_schedulers", "loops", "callbacks", "averaging_state", "MixedPrecision")


class RunCheckpoint(Checkpoint):
    """Writes both files at the end of an epoch, and last.ckpt every ``every_steps`` optimizer steps.

    best.ckpt holds the averaged weights (``state_dict``), the trained ones (``current_model_state``, with EMA) and what
    names them, without optimizer state. A better objective is a larger one; ties keep the earlier epoch.

    Args:
        folder: where to write.
        objective: key in ``trainer.callback_metrics``.
        every_steps: 0 only at the end of an epoch.
        patience: epochs without a better objective before the run is stopped; 0 never.
    """

    def __init__(self, folder: RunFolder, *, objective: str, every_steps: int, patience: int) -> None:
        self.folder, self.objective, self.every_steps, self.patience = folder, objective, every_steps, patience
        self.best_score, self.best_epoch = -math.inf, -1
        self._saved_step = 0

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far."""
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best epoch of the run before."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A resumed run that had already stopped early does not train another epoch."""
        if self._stalled(trainer.current_epoch - 1):
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch where asked to."""
        due = self.every_steps and trainer.global_step % self.every_steps == 0
        if due and trainer.global_step != self._saved_step and not trainer.is_last_batch:
            self.save_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save both files; stop early where the objective has stalled."""
        score = float(trainer.callback_metrics[self.objective])
        epoch = trainer.current_epoch
        is_best = score > self.best_score
        if is_best:
            self.best_score, self.best_epoch = score, epoch
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if is_best and trainer.is_global_zero:
            AtomicCheckpointIO().save_checkpoint(_without_optimizer(checkpoint), self.folder.best)
        trainer.strategy.save_checkpoint(checkpoint, self.folder.last)
        if self._stalled(epoch):
            trainer.should_stop = True

    def _stalled(self, epoch: int) -> bool:
        return bool(self.patience) and self.best_epoch >= 0 and epoch - self.best_epoch >= self.patience

    def save_last(self, trainer: pl.Trainer) -> None:
        """Write last.ckpt as things stand."""
        self._saved_step = trainer.global_step
        trainer.save_checkpoint(self.folder.last)


def _without_optimizer(checkpoint: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in checkpoint.items() if key not in _ONLY_FOR_RESUME}


def progress(checkpoint: dict[str, Any]) -> tuple[int, int]:
    """Where training goes on: (epoch, batches of it already done)."""
    loop = checkpoint["loops"]["fit_loop"]
    epoch = int(loop["epoch_progress"]["current"]["processed"])
    batches = loop["epoch_loop.batch_progress"]
    return epoch, 0 if batches["is_last_batch"] else int(batches["current"]["processed"])
