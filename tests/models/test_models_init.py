import numpy as np
import pytest
import torch
from torch import nn

from src.models.init import init_convolutions, init_head
from src.models.mobilenet_v2 import MobileNetV2


def test_init_convolutions__he_normal_fan_out_and_identity_norms():
    torch.manual_seed(0)
    network = MobileNetV2(4)
    init_convolutions(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            expected = (2 / (module.out_channels * module.kernel_size[0] ** 2)) ** 0.5
            spread = 4 / weight.numel() ** 0.5  # over 5 standard errors of a normal sample's deviation
            assert weight.std().item() == pytest.approx(expected, rel=spread)
            assert abs(weight.mean().item()) < 5 * expected / weight.numel() ** 0.5
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))


@pytest.mark.parametrize("std", [0.01, 1.0])
def test_init_head__weights_and_zero_bias(std):
    torch.manual_seed(0)
    head = nn.Linear(1280, 80)
    init_head(head, std=std, class_frequency=None)
    assert head.weight.std().item() == pytest.approx(std, rel=0.02)
    assert torch.equal(head.bias, torch.zeros(80))


def test_init_head__bias_answers_with_the_prior():
    frequency = np.array([0.5, 0.01, 0.9])
    head = nn.Linear(16, 3)
    init_head(head, std=0.0, class_frequency=frequency)
    np.testing.assert_allclose(
        head(torch.randn(4, 16)).sigmoid().detach().numpy(), np.tile(frequency, (4, 1)), rtol=1e-5
    )


def test_init_head__absent_and_ubiquitous_classes_stay_finite():
    head = nn.Linear(2, 2)
    init_head(head, std=0.01, class_frequency=np.array([0.0, 1.0], dtype=np.float32))
    assert head.bias.tolist() == pytest.approx([-9.21024, 9.21024], abs=1e-4)


@pytest.mark.parametrize(
    "frequency", [np.array([0.5]), np.array([3.0, 10.0]), np.array([0.5, np.nan]), np.array([-0.1, 0.2])]
)
def test_init_head__refuses_what_is_no_share_per_class(frequency):
    with pytest.raises(ValueError, match="2 shares"):
        init_head(nn.Linear(4, 2), std=0.01, class_frequency=frequency)
