"""Initialisation: He-normal convolutions, a small linear head, and the class prior as its bias."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

RAREST_PRIOR = 1e-4  # a class without a positive in train starts here, not at -inf


def init_convolutions(network: nn.Module) -> None:
    """Convolutions He-normal over fan_out (He et al., 2015), batch norm at identity; as torchvision's MobileNetV2."""
    for module in network.modules():
        match module:
            case nn.Conv2d():
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            case nn.BatchNorm2d():
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)


def init_head(head: nn.Linear, *, std: float, class_frequency: NDArray[np.floating] | None) -> None:
    """Weights normal(0, std); bias 0, or the logit of each class's frequency.

    With pi the frequency, the bias log(pi / (1 - pi)) makes the first answer the prior (Lin et al., 2017, sec. 3.3):
    the loss starts near that of the best constant instead of spending the first epoch on learning "mostly no".

    Args:
        head: the linear layer, [C] outputs.
        std: standard deviation of the weights.
        class_frequency: share of images with each class, [C] in [0, 1]; None sets the bias to 0.

    Raises:
        ValueError: where class_frequency is not C shares.
    """
    nn.init.normal_(head.weight, std=std)
    nn.init.zeros_(head.bias)
    if class_frequency is None:
        return
    if class_frequency.shape != (head.out_features,) or not np.all((class_frequency >= 0) & (class_frequency <= 1)):
        raise ValueError(
            f"class_frequency must hold {head.out_features} shares in [0, 1], shape {class_frequency.shape}"
        )
    prior_C = np.clip(class_frequency.astype(np.float64), RAREST_PRIOR, 1 - RAREST_PRIOR)
    with torch.no_grad():
        head.bias.copy_(torch.from_numpy(np.log(prior_C / (1 - prior_C))))
