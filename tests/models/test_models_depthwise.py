"""A dilated depthwise convolution on sub-grids is the convolution, whatever sides, dilation and padding."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from src.engines.folding import fold_batch_norms
from src.models.depthwise import DilatedDepthwise, on_subgrids
from src.models.mobilenet_v2 import MobileNetV2


def grown(layer: nn.Module, x_BCHW: Tensor) -> list[Tensor]:
    """The output and all gradients."""
    x_BCHW = x_BCHW.clone().requires_grad_()
    out = layer(x_BCHW)
    out.backward(torch.arange(out.numel(), dtype=out.dtype).view_as(out).sin())
    gradients = [tensor.grad for tensor in (x_BCHW, *layer.parameters())]
    return [out.detach(), *(gradient for gradient in gradients if gradient is not None)]


def pair(
    dilation: int, padding: int, dtype: torch.dtype = torch.float64, channels: int = 5
) -> tuple[DilatedDepthwise, nn.Conv2d]:
    options: dict[str, Any] = {"padding": padding, "dilation": dilation, "groups": channels, "dtype": dtype}
    ours = DilatedDepthwise(channels, dilation=dilation, padding=padding, bias=True).to(dtype)
    plain = nn.Conv2d(channels, channels, 3, **options)
    ours.load_state_dict(plain.state_dict())
    return ours, plain


@settings(deadline=None, max_examples=60)
@given(
    sides=st.tuples(st.integers(1, 19), st.integers(1, 19)),
    dilation=st.sampled_from([2, 3, 4, 8]),
    inside=st.booleans(),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    channels=st.sampled_from([4, 5]),  # 32 bytes: moved by 16; 40: one by one
)
def test_dilated_depthwise__is_the_convolution(
    sides: tuple[int, int], dilation: int, inside: bool, layout: torch.memory_format, channels: int
) -> None:
    if not inside:  # the kernel must fit
        sides = (sides[0] + 2 * dilation, sides[1] + 2 * dilation)
    ours, plain = pair(dilation, dilation if inside else 0, channels=channels)
    x_BCHW = torch.randn(2, channels, *sides, dtype=torch.float64).contiguous(memory_format=layout)
    ends = grown(ours, x_BCHW), grown(plain, x_BCHW)
    assert len(ends[0]) == 4  # the output and the gradients of images, weight and bias
    for found, expected in zip(*ends, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_dilated_depthwise__is_the_plain_convolution_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = pair(2, 2, torch.float32)
    x_BCHW = torch.randn(2, 5, 9, 9)
    calls: list[int] = []
    monkeypatch.setattr("src.models.depthwise.on_subgrids", lambda *args, **kwargs: calls.append(1) or args[0])
    torch.testing.assert_close(ours.eval()(x_BCHW), plain(x_BCHW), rtol=0, atol=0)
    assert not calls
    ours.train()(x_BCHW)
    assert calls


def test_on_subgrids__keeps_channels_last() -> None:
    x_BCHW = torch.randn(2, 5, 8, 12).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(5, 1, 3, 3)
    out = on_subgrids(x_BCHW, weight, dilation=4, padding=4)
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, F.conv2d(x_BCHW, weight, padding=4, dilation=4, groups=5))


def settled(network: MobileNetV2) -> MobileNetV2:
    """In training but for its batch norms, which have statistics: those of a batch turn rounding into kinks."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            module.eval()
    return network


@pytest.mark.parametrize("padding", ["torchvision", "seed"])
@pytest.mark.parametrize(("output_stride", "dilated"), [(4, 13), (8, 10), (16, 3), (32, 0)])
def test_mobilenet_v2__training_is_that_of_plain_convolutions(output_stride: int, dilated: int, padding: str) -> None:
    ours = settled(MobileNetV2(3, output_stride=output_stride, padding=padding, dropout=0.0).double())
    plain = copy.deepcopy(ours)
    changed = [module for module in plain.modules() if isinstance(module, DilatedDepthwise)]
    assert len(changed) == dilated
    for module in changed:
        module.__class__ = nn.Conv2d
    x_BCHW = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for network in (ours, plain):
        network(x_BCHW).square().sum().backward()
    for found, expected in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-8, atol=1e-9)


def test_dilated_depthwise__compiled_is_the_convolution() -> None:
    torch._dynamo.reset()
    ours, plain = pair(2, 2, channels=4)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    x_BCHW = torch.randn(2, 4, 7, 9, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    out = compiled(x_BCHW.requires_grad_())
    out.sin().sum().backward()
    mine = [out.detach(), x_BCHW.grad, ours.weight.grad]
    x_BCHW.grad = None
    out = plain(x_BCHW)
    out.sin().sum().backward()
    for found, expected in zip(mine, [out.detach(), x_BCHW.grad, plain.weight.grad], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_folding__reaches_dilated_convolutions() -> None:
    network = settled(MobileNetV2(3, output_stride=8)).eval()
    folded = fold_batch_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x_BCHW = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(folded(x_BCHW), network(x_BCHW), rtol=1e-3, atol=1e-4)


def test_dilated_depthwise__takes_no_other_padding() -> None:
    with pytest.raises(ValueError, match="padding 1: expected 0 or the dilation, 4"):
        DilatedDepthwise(8, dilation=4, padding=1)


def test_dilated_depthwise__says_that_it_has_no_second_derivative() -> None:
    ours, _ = pair(2, 2, channels=4)
    x_BCHW = torch.randn(1, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(ours(x_BCHW).sin().sum(), x_BCHW, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: sub-grids against cuDNN's dilated kernels")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dilation", "channels"), [(2, 8), (4, 8), (4, 5)])
def test_dilated_depthwise__on_cuda_in_half_precision(dilation: int, channels: int, training: bool) -> None:
    layers = pair(dilation, dilation, torch.float32, channels=channels)
    ours, plain = (layer.cuda().train(training) for layer in layers)
    x_BCHW = torch.randn(4, channels, 28, 28, device="cuda").contiguous(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.float16):
        found, expected = ours(x_BCHW), plain(x_BCHW)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
