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
    names them, without optimizer state. It is that of the latest epoch whose objective lies within ``margin`` standard
    errors of the highest so far: on a small holdout the highest is often an accident of its images, and of epochs that
    the holdout cannot tell apart the later one has the lower learning rate and the longer average. (Fine-tuning on
    2,471 images with a holdout of 129: the highest, epoch 4 of 10, had mAP 0.495 on val; epoch 10, 0.004 lower on the
    holdout, had 0.516; one run.) The rule is Breiman's et al., Classification and Regression Trees, 1984, sec. 3.4.3.

    Args:
        folder: where to write.
        objective: key in ``trainer.callback_metrics``; its standard error stands under the same key with ``_se``.
        margin: in standard errors; 0 takes the highest, of equal ones the latest.
        every_steps: 0 only at the end of an epoch.
        patience: epochs without a better objective before the run is stopped; 0 never.
    """

    def __init__(
        self, folder: RunFolder, *, objective: str, every_steps: int, patience: int, margin: float = 0.0
    ) -> None:
        self.folder, self.objective, self.every_steps, self.patience = folder, objective, every_steps, patience
        self.margin = margin
        self.best_score, self.best_epoch = -math.inf, -1
        self._highest, self._highest_epoch = -math.inf, -1
        self._saved_step = 0

    def state_dict(self) -> dict[str, Any]:
        """The epoch kept and the highest one so far."""
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "highest": self._highest,
            "highest_epoch": self._highest_epoch,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the epochs of the run before."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self._highest = state_dict.get("highest", self.best_score)
        self._highest_epoch = state_dict.get("highest_epoch", self.best_epoch)

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
        epoch = trainer.current_epoch
        is_best = self._judge(trainer, epoch)
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if is_best and trainer.is_global_zero:
            AtomicCheckpointIO().save_checkpoint(_without_optimizer(checkpoint), self.folder.best)
        trainer.strategy.save_checkpoint(checkpoint, self.folder.last)
        if self._stalled(epoch):
            trainer.should_stop = True

    def _judge(self, trainer: pl.Trainer, epoch: int) -> bool:
        """Whether this epoch is the one to keep."""
        score = float(trainer.callback_metrics[self.objective])
        error = float(trainer.callback_metrics.get(f"{self.objective}_se", 0.0))
        if score > self._highest:
            self._highest, self._highest_epoch = score, epoch
        if score < self._highest - self.margin * error:
            return False
        self.best_score, self.best_epoch = score, epoch
        return True

    def _stalled(self, epoch: int) -> bool:
        return bool(self.patience) and self._highest_epoch >= 0 and epoch - self._highest_epoch >= self.patience

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
