"""A small network with all that a graph has to carry: normalisation, depthwise convolutions, ReLU6, shortcut, head."""

import pytest
import torch
from torch import Tensor, nn

from src.models.mobilenet_v2 import BlockLayout, InvertedResidual
from src.models.preprocess import Normalize

SIZE, CLASSES = 32, 5


class Small(nn.Module):
    """Normalisation, stem, one inverted residual with a shortcut, pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Normalize()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True))
        self.block = InvertedResidual(8, 8, BlockLayout(4, 8, 1, 1, 1), padding="torchvision")
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.head(self.block(self.stem(self.preprocess(images_BCHW))).mean((2, 3)))
        return logits_BC


def shake_norms(model: nn.Module) -> None:
    """Statistics and parameters of batch norms as training leaves them: not 0 and 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5), (module.running_var, 0.5, 2.0), (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 0.5),
            ):  # fmt: skip
                assert tensor is not None
                nn.init.uniform_(tensor, low, high)


@pytest.fixture(scope="session")
def small() -> nn.Module:
    torch.manual_seed(0)
    model = Small()
    shake_norms(model)
    return model.eval()


@pytest.fixture(scope="session")
def images() -> Tensor:
    """[20, 3, 32, 32], uint8, smooth: noise alone would say little about scales."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(20, 3, 4, 4, generator=random) * 255
    return nn.functional.interpolate(coarse, size=SIZE, mode="bilinear").byte()
