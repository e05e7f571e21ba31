"""Input normalisation inside the model, so that training, prediction and export cannot disagree about it."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(x / 255 - mean) / std per channel, folded into one multiply-add.

    The buffers are non-persistent: they belong to the configuration, and state dicts stay those of the bare network.

    Args:
        mean: per channel, on the scale [0, 1].
        std: per channel, on the scale [0, 1].
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        mean_C = torch.tensor(mean, dtype=torch.float64)
        std_C = torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", (1 / (255 * std_C)).float().view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-mean_C / std_C).float().view(1, -1, 1, 1), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Images in [0, 255], uint8 or float, to float32; the memory format is kept."""
        return torch.addcmul(self.shift, images_BCHW.float(), self.scale)
