"""Ctrl-C and SIGTERM end a run between two steps, with everything saved."""

import signal
import sys
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch

from src.callbacks.checkpoints import RunCheckpoint
from src.config.schema.errors import Interrupted
from src.process import is_first_process

EVERY = 10
"""Optimizer steps between two agreements of several processes; each waits for the device."""


class StopOnSignal(pl.Callback):
    """Saves last.ckpt after the step in progress and raises Interrupted; a second signal ends the process at once.

    Must stand after the checkpoint callback, so that the step it saves is complete. Of several processes (DDP) each is
    told at another moment, or one alone; they agree every ``EVERY`` batches, since one that saved while another took
    its next step would wait for it for ever.
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
        if is_first_process():
            sys.stderr.write("\nstopping as soon as the state is saved; once more to stop at once\n")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here where asked to; after an epoch's last step the epoch is scored and saved first.

        Gradients that wait for an optimizer step are in no checkpoint, so that step comes first.
        """
        steps, rest = divmod(batch_idx + 1, trainer.accumulate_grad_batches)
        if rest or trainer.is_last_batch or (trainer.world_size > 1 and steps % EVERY):
            return
        if (number := self._agreed(trainer, pl_module)) is not None:
            self._checkpoint.save_last(trainer)
            raise Interrupted(number)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs: the checkpoint of the one before is complete."""
        if (number := self._agreed(trainer, pl_module)) is not None:
            raise Interrupted(number)

    def _agreed(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> int | None:
        """The signal that this process, or any of several, has received."""
        if trainer.world_size == 1:
            return self._received
        number = torch.tensor(self._received or 0, device=pl_module.device)
        torch.distributed.all_reduce(number, op=torch.distributed.ReduceOp.MAX)
        return int(number) or None
