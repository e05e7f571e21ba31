"""Stops a run whose numbers have gone bad, instead of training on to the end without a word."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from src.config.schema.errors import UserError


class NumericsError(UserError):
    """The loss or the gradient scale is no longer finite."""


class WatchNumerics(pl.Callback):
    """Looks at the loss and the fp16 gradient scale every ``every`` batches and at the end of an epoch.

    Looking costs a host synchronisation, so it is not done each step. A few skipped fp16 steps at the start are
    normal (the scale is being found); a scale below ``smallest_scale`` means that nothing but overflow came.
    """

    def __init__(self, every: int = 50, smallest_scale: float = 2.0**-14) -> None:
        self.every, self.smallest_scale = every, smallest_scale
        self._sum: torch.Tensor | None = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up the loss; look at it now and then."""
        if outputs:  # empty where every image of the batch was broken
            loss = outputs["loss"].detach()
            self._sum = loss if self._sum is None else self._sum + loss
        if (batch_idx + 1) % self.every == 0 or trainer.is_last_batch:
            self._check(trainer, batch_idx)

    def _check(self, trainer: pl.Trainer, batch_idx: int) -> None:
        total = float(self._sum) if self._sum is not None else 0.0
        self._sum = None
        where = f"epoch {trainer.current_epoch}, by batch {batch_idx}"
        if not math.isfinite(total):
            raise NumericsError(
                f"the loss became {total} in {where} (precision {trainer.precision}); "
                "lower optimizer.lr, set trainer.gradient_clip=1, or try trainer.precision=fp32"
            )
        plugin = trainer.precision_plugin
        scaler = plugin.scaler if isinstance(plugin, MixedPrecision) else None
        if scaler is not None and float(scaler.get_scale()) < self.smallest_scale:
            raise NumericsError(
                f"fp16 gradients overflow at every step ({where}, scale {scaler.get_scale():.1e}); "
                "lower optimizer.lr, or trainer.precision=bf16"
            )
