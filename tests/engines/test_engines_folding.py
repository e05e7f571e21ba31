"""Folding changes nothing but rounding."""

import pytest
import torch
from torch import Tensor, nn

from src.config.schema.model import MobileNetV2Config, TimmConfig
from src.engines.errors import EngineError
from src.engines.folding import fold_batch_norms
from src.models.build import build_model
from tests.engines.conftest import shake_norms


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize(
    ("config", "left"),
    [
        (MobileNetV2Config(head_std=0.5), 0),
        (MobileNetV2Config(head_std=0.5, padding="seed", output_stride=8, pool="mixed"), 0),
        (TimmConfig(name="mobilenetv3_small_050", pretrained=False, head_std=0.5), 0),
    ],
    ids=lambda value: getattr(value, "name", "mobilenetv2") if not isinstance(value, int) else str(value),
)
def test_fold__is_the_same_function(config: MobileNetV2Config | TimmConfig, left: int) -> None:
    torch.manual_seed(0)
    model = build_model(config, num_classes=7).eval()
    shake_norms(model)
    before = norms(model)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    folded = fold_batch_norms(model)
    with torch.inference_mode():
        expected, found = model.double()(images.double()), folded.double()(images.double())
    assert before > 10
    assert norms(folded) == left
    assert norms(model) == before
    scale = expected.abs().max().item()
    assert scale > 1e-3
    assert (found - expected).abs().max().item() <= 1e-5 * scale


def test_fold__equals_the_formula() -> None:
    torch.manual_seed(0)
    pair = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    shake_norms(pair)
    folded = fold_batch_norms(pair)
    conv, norm, found = pair[0], pair[1], folded.get_submodule("0")
    assert isinstance(found, nn.Conv2d)
    assert found.bias is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(found.weight, conv.weight * factor.view(3, 1, 1, 1))
    torch.testing.assert_close(found.bias, (conv.bias - norm.running_mean) * factor + norm.bias)


class Shared(nn.Module):
    """A convolution that something else reads too, and one that is called twice with two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm_a = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.b, self.norm_b, self.norm_c = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        read_twice = self.a(x)
        x = self.norm_a(read_twice) + read_twice
        return self.norm_c(self.b(self.norm_b(self.b(x))))


def test_fold__leaves_what_is_read_or_called_twice() -> None:
    torch.manual_seed(0)
    model = Shared().eval()
    shake_norms(model)
    folded = fold_batch_norms(model)
    x = torch.randn(2, 3, 4, 4)
    assert norms(folded) == 3
    torch.testing.assert_close(folded(x), model(x))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_fold__a_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(EngineError, match=r"engine=folded: this network cannot be traced .*engine=torch"):
        fold_batch_norms(Branching())
