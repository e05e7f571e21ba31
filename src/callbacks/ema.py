"""Exponential moving average of the weights, evaluated and saved beside the trained ones."""

from collections.abc import Sequence

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class EMA(WeightAveraging):
    """Average with warm-up: decay_n = min(decay, (1 + n) / (10 + n)) after n updates.

    The warm-up lets the average follow the first steps instead of keeping the initial weights, and Lightning's own
    averaging of integer buffers (batch-norm's step count) is replaced by a copy. Checkpoints hold the average as
    ``state_dict`` and the trained weights as ``current_model_state``.

    Args:
        decay: share of the average that survives one optimizer step.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(use_buffers=True, multi_avg_fn=self._update)

    def _update(self, averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        if not torch.is_floating_point(averaged[0]):
            torch._foreach_copy_(list(averaged), list(current))
            return
        n = int(num_averaged)
        decay = min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(averaged), list(current), 1 - decay)


def decay_per_step(decay_per_epoch: float, steps_per_epoch: int) -> float:
    """The decay per optimizer step whose product over one epoch is ``decay_per_epoch``."""
    return float(decay_per_epoch ** (1 / max(1, steps_per_epoch)))
