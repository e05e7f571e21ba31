import pytest
import torch
from torch import nn

from src.models.figures import Figures, model_figures
from src.models.mobilenet_v2 import MobileNetV2

TABLE = [  # padding, output stride, MB, GMAC: the seed's published figures at 80 classes and 256 pixels
    ("seed", 4, 1890.44, "10.37"),
    ("seed", 8, 563.98, "2.68"),
    ("seed", 16, 254.76, "0.789"),
    ("seed", 32, 210.66, "0.430"),
    ("torchvision", 4, 1648.51, "9.009"),
    ("torchvision", 8, 502.14, "2.337"),
    ("torchvision", 16, 236.64, "0.700"),
    ("torchvision", 32, 199.65, "0.391"),
]


@pytest.mark.parametrize(("padding", "output_stride", "megabytes", "gmac"), TABLE)
def test_model_figures__the_seeds_table(padding, output_stride, megabytes, gmac):
    with torch.device("meta"):
        network = MobileNetV2(80, output_stride=output_stride, padding=padding)
    figures = model_figures(network, 256)
    assert figures.parameters == 2_326_352
    assert figures.leaf_modules == 141
    assert round(figures.activation_mb, 2) == megabytes
    assert f"{figures.gmac:.{len(gmac.partition('.')[2])}f}" == gmac


def test_model_figures__leaf_kinds():
    with torch.device("meta"):
        leaves = [m for m in MobileNetV2(80).modules() if not any(m.children())]
    count = {
        kind: sum(isinstance(m, kind) for m in leaves)
        for kind in (nn.Conv2d, nn.BatchNorm2d, nn.ReLU6, nn.Dropout, nn.Linear)
    }
    assert list(count.values()) == [52, 52, 35, 1, 1]


def test_model_figures__by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.Flatten(),
        nn.Linear(8 * 16, 5),
    )
    outputs = 8 * 16 + 8 * 16 + 8 * 16 + 5
    macs = 8 * 16 * 27 + 8 * 16 * 18 + 5 * 128
    assert model_figures(network, 8) == Figures(
        parameters=(8 * 27 + 8) + (8 * 18 + 8) + (128 * 5 + 5),
        leaf_modules=4,
        activation_mb=8 * outputs / 2**20,
        gmac=macs / 1e9,
    )


def test_model_figures__leaves_the_network_untouched():
    network = MobileNetV2(4, width=0.1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    model_figures(network, 64)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
    torch.testing.assert_close(network.state_dict(), before)
