"""Losses as modules: logits and targets in, one float32 scalar out.

Each returns scale * mean over images and classes of its function in ``src.losses.functional``, computed outside
autocast: mixed precision ends at the logits.
"""

import warnings

import torch
from torch import Tensor, nn

from src.losses.functional import asl, bce, focal, soft_f1, two_way

SMALL_BATCH = 64


def _no_autocast(logits_BC: Tensor) -> torch.autocast:
    return torch.autocast(device_type=logits_BC.device.type, enabled=False)


class BCELoss(nn.Module):
    """Mean binary cross-entropy, positives weighted per class.

    The weights follow from the training data, so they are no part of the state dict.
    """

    pos_weight: Tensor | None

    def __init__(self, *, pos_weight_C: Tensor | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("pos_weight", pos_weight_C, persistent=False)

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Scalar loss of [B, C] logits against multi-hot targets."""
        with _no_autocast(logits_BC):
            return self.scale * bce(logits_BC, targets_BC, pos_weight_C=self.pos_weight).mean()


class FocalLoss(nn.Module):
    """Mean focal loss."""

    def __init__(self, *, gamma: float = 2.0, alpha: float | None = None, scale: float = 1.0) -> None:
        super().__init__()
        self.gamma, self.alpha, self.scale = gamma, alpha, scale

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Scalar loss of [B, C] logits against multi-hot targets."""
        with _no_autocast(logits_BC):
            return self.scale * focal(logits_BC, targets_BC, gamma=self.gamma, alpha=self.alpha).mean()


class ASLLoss(nn.Module):
    """Mean asymmetric loss."""

    def __init__(
        self, *, gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.gamma_pos, self.gamma_neg, self.clip, self.scale = gamma_pos, gamma_neg, clip, scale

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Scalar loss of [B, C] logits against multi-hot targets."""
        with _no_autocast(logits_BC):
            loss_BC = asl(logits_BC, targets_BC, gamma_pos=self.gamma_pos, gamma_neg=self.gamma_neg, clip=self.clip)
            return self.scale * loss_BC.mean()


class TwoWayLoss(nn.Module):
    """Two-way ranking loss over the batch."""

    def __init__(self, *, temperature_pos: float = 4.0, temperature_neg: float = 1.0, scale: float = 1.0) -> None:
        super().__init__()
        self.temperature_pos, self.temperature_neg, self.scale = temperature_pos, temperature_neg, scale

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Scalar loss of [B, C] logits against multi-hot targets."""
        with _no_autocast(logits_BC):
            return self.scale * two_way(
                logits_BC, targets_BC, temperature_pos=self.temperature_pos, temperature_neg=self.temperature_neg
            )


class SoftF1Loss(nn.Module):
    """Soft F1 over the batch, mixed with BCE: (1 - bce_weight) * soft F1 + bce_weight * mean BCE."""

    def __init__(
        self, *, average: str = "macro", mask_absent: bool = True, bce_weight: float = 0.5, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.average, self.mask_absent, self.bce_weight, self.scale = average, mask_absent, bce_weight, scale
        self._batch_size_checked = False

    def forward(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        """Scalar loss of [B, C] logits against multi-hot targets."""
        self._check_batch_size(len(logits_BC))
        with _no_autocast(logits_BC):
            f1_part = soft_f1(logits_BC, targets_BC, average=self.average, mask_absent=self.mask_absent)
            bce_part = bce(logits_BC, targets_BC).mean()
            return self.scale * ((1 - self.bce_weight) * f1_part + self.bce_weight * bce_part)

    def _check_batch_size(self, batch_size: int) -> None:
        """Warn at the first training batch; later ones may be short because an epoch ends."""
        if self._batch_size_checked or not self.training:
            return
        self._batch_size_checked = True
        if self.average == "macro" and batch_size < SMALL_BATCH:
            warnings.warn(
                f"macro soft-F1 sees {batch_size} images per batch; under {SMALL_BATCH} most classes have no positive"
                " to learn from: raise data.batch_size, or set loss.average=micro",
                stacklevel=3,
            )
