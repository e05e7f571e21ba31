"""Ctrl-C and SIGTERM end a run between two steps, with everything saved."""

import signal
import sys
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from src.callbacks.checkpoints import RunCheckpoint
from src.config.schema.errors import Interrupted


class StopOnSignal(pl.Callback):
    """Saves last.ckpt after the step in progress and raises Interrupted; a second signal ends the process at once.

    Must stand after the checkpoint callback, so that the step it saves is complete.
    """

    def __init__(self, checkpoint: RunCheckpoint) -> None:
        self._checkpoint = checkpoint
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the two signals; Lightning has set its own handlers by now."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back: ``teardown`` comes after Lightning gave back its own, and never after an error."""
        self._give_back()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._received = number
        sys.stderr.write("\nstopping as soon as the state is saved; once more to stop at once\n")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here where asked to; after an epoch's last step the epoch is scored and saved first.

        Gradients that wait for an optimizer step are in no checkpoint, so that step comes first.
        """
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self._received is not None and stepped and not trainer.is_last_batch:
            self._checkpoint.save_last(trainer)
            raise Interrupted(self._received)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs: the checkpoint of the one before is complete."""
        if self._received is not None:
            raise Interrupted(self._received)
