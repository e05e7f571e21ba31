"""Exponential moving average of the weights, evaluated and saved beside the trained ones."""

from itertools import chain
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import AveragedModel


class EMA(WeightAveraging):
    """Average with warm-up: decay_n = min(decay, (1 + n) / (10 + n)) after n updates.

    The warm-up lets the average follow the first steps instead of keeping the initial weights, and Lightning's own
    averaging of integer buffers (batch-norm's step count) is replaced by a copy. Checkpoints hold the average as
    ``state_dict`` and the trained weights as ``current_model_state``.

    The update is our own: torch's walks through all modules of both models at each step and asks the device how many
    updates there were, for which a GPU has to finish its queue.

    Args:
        decay: share of the average that survives one optimizer step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(use_buffers=True)
        self._pairs: _Pairs | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look up tensors and count anew: between epochs a callback may have replaced or loaded them."""
        self._pairs = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update after each optimizer step."""
        if trainer.global_step <= self._latest_update_step:
            return
        self._latest_update_step = trainer.global_step
        assert self._average_model is not None
        if self._pairs is None:
            self._pairs = _Pairs(self._average_model, pl_module)
        self._pairs.update(self.decay)


class _Pairs:
    """The tensors of an average and of the model it follows, and how often it was updated."""

    def __init__(self, average: AveragedModel, model: pl.LightningModule) -> None:
        averaged, current = (
            [tensor.detach() for tensor in chain(one.parameters(), one.buffers())] for one in (average.module, model)
        )
        by_kind: dict[bool, tuple[list[Tensor], list[Tensor]]] = {True: ([], []), False: ([], [])}
        for own, other in zip(averaged, current, strict=True):
            into = by_kind[own.is_floating_point()]
            into[0].append(own)
            into[1].append(other)
        self._floats, self._integers = by_kind[True], by_kind[False]
        self._num_averaged: Tensor = average.n_averaged  # in the checkpoint
        self._count = int(average.n_averaged)

    def update(self, decay: float) -> None:
        """Take the weights as they are the first time, mix them in later."""
        averaged, current = self._floats
        if self._count == 0:
            torch._foreach_copy_(averaged, current)
        else:
            kept = min(decay, (1 + self._count) / (10 + self._count))
            torch._foreach_lerp_(averaged, current, 1 - kept)
        if self._integers[0]:
            torch._foreach_copy_(*self._integers)
        self._num_averaged += 1
        self._count += 1


def decay_per_step(decay_per_epoch: float, steps_per_epoch: int) -> float:
    """The decay per optimizer step whose product over one epoch is ``decay_per_epoch``."""
    return float(decay_per_epoch ** (1 / max(1, steps_per_epoch)))
