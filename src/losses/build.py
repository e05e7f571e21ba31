"""From a loss configuration to the module."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from src.config.schema.loss import ASLConfig, BCEConfig, FocalConfig, LossConfig, SoftF1Config, TwoWayConfig
from src.losses.modules import ASLLoss, BCELoss, FocalLoss, SoftF1Loss, TwoWayLoss
from src.losses.weights import pos_weights


def build_loss(cfg: LossConfig, *, class_counts: NDArray[np.integer], num_images: int) -> nn.Module:
    """Module whose forward(logits_BC, targets_BC) is a float32 scalar: cfg.scale * mean over images and classes.

    Args:
        cfg: one of the loss dataclasses.
        class_counts: training images that contain each class, [C]; only BCE's weights read it.
        num_images: training images counted.

    Raises:
        TypeError: no loss belongs to this configuration class.
    """
    match cfg:
        case BCEConfig():
            weight_C = pos_weights(class_counts, num_images, kind=cfg.pos_weight, cap=cfg.pos_weight_cap, beta=cfg.beta)
            return BCELoss(pos_weight_C=weight_C, scale=cfg.scale)
        case FocalConfig():
            return FocalLoss(gamma=cfg.gamma, alpha=cfg.alpha, scale=cfg.scale)
        case ASLConfig():
            return ASLLoss(gamma_pos=cfg.gamma_pos, gamma_neg=cfg.gamma_neg, clip=cfg.clip, scale=cfg.scale)
        case TwoWayConfig():
            return TwoWayLoss(temperature_pos=cfg.temperature_pos, temperature_neg=cfg.temperature_neg, scale=cfg.scale)
        case SoftF1Config():
            return SoftF1Loss(
                average=cfg.average, mask_absent=cfg.mask_absent, bce_weight=cfg.bce_weight, scale=cfg.scale
            )
        case _:
            raise TypeError(f"no loss for {type(cfg).__name__}")
