"""From the configuration to a model."""

import numpy as np
import torch
from numpy.typing import NDArray

from src.config.schema.model import MobileNetV2Config, ModelConfig, TimmConfig
from src.models.backbones import timm_classifier
from src.models.classifier import Classifier
from src.models.freeze import freeze_stages
from src.models.init import init_convolutions, init_head
from src.models.mobilenet_v2 import MobileNetV2, stage_names
from src.models.preprocess import Normalize
from src.models.weights import load_weights


def build_model(
    cfg: ModelConfig, *, num_classes: int, class_frequency: NDArray[np.floating] | None = None
) -> Classifier:
    """Build, initialise from torch's global generator, load weights and freeze.

    Args:
        cfg: which network.
        num_classes: logits per image.
        class_frequency: share of training images with each class, [num_classes] in [0, 1], for the prior bias; None
            where the weights are loaded afterwards anyway.

    Returns:
        Model on the CPU, channels_last (the fast layout of convolutions on CPU and tensor cores), in training mode.

    Raises:
        ModelError: weights, names, strides or stage counts that do not fit; see the parts.
    """
    match cfg:
        case MobileNetV2Config():
            model = _mobilenet_v2(cfg, num_classes)
        case TimmConfig():
            model = timm_classifier(cfg, num_classes)
        case _:
            raise TypeError(f"no network for {type(cfg).__name__}")
    init_head(model.head, std=cfg.head_std, class_frequency=class_frequency if cfg.prior_bias else None)
    if isinstance(model.network, MobileNetV2) and isinstance(cfg, MobileNetV2Config) and cfg.weights is not None:
        load_weights(model.network, cfg.weights)  # after the head: a file may bring its own
    freeze_stages(model, cfg.freeze)
    return model.to(memory_format=torch.channels_last)


def _mobilenet_v2(cfg: MobileNetV2Config, num_classes: int) -> Classifier:
    network = MobileNetV2(
        num_classes,
        width=cfg.width,
        output_stride=cfg.output_stride,
        padding=cfg.padding,
        dropout=cfg.dropout,
        pool=cfg.pool,
        attention=cfg.attention,
        recompute=cfg.recompute,
    )
    init_convolutions(network)
    return Classifier(Normalize(), network, head_name="classifier.1", stage_names=stage_names())
