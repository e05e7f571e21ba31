"""ReLU6 without a copy: the same values and gradients as PyTorch's, and one tensor less kept."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.mobilenet_v2 import MobileNetV2
from src.models.recompute import recomputed
from src.models.relu6 import ReLU6
from src.run.batch_size import bytes_kept_per_image

EDGES = torch.tensor([-1.0, -0.0, 0.0, 1e-30, 3.0, 5.9999995, 6.0, 6.0000005, 9.0, torch.inf, -torch.inf, torch.nan])


def gradient(module: nn.Module, values: Tensor) -> tuple[Tensor, Tensor]:
    leaf = values.clone().requires_grad_()
    out = module(leaf * 1)
    out.backward(torch.arange(1.0, out.numel() + 1).view_as(out).to(out.dtype))
    assert leaf.grad is not None
    return out.detach(), leaf.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_relu6__values_and_gradients_are_pytorchs_at_the_edges_too(dtype: torch.dtype) -> None:
    for ours, theirs in zip(gradient(ReLU6(), EDGES.to(dtype)), gradient(nn.ReLU6(), EDGES.to(dtype)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


def test_relu6__gradcheck() -> None:
    values = torch.linspace(-2.05, 8, 40, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ReLU6()(x * 1), values)


@pytest.mark.parametrize("state", ["training", "eval", "no gradient", "no gradient wanted"])
def test_relu6__works_in_place(state: str) -> None:
    module = ReLU6().train(state != "eval")
    x = torch.randn(4, 5) * 9
    expected = F.relu6(x)
    if state == "training":
        x.requires_grad_()
        x = x * 1
    with torch.set_grad_enabled(state != "no gradient"):
        out = module(x)
    assert out.data_ptr() == x.data_ptr()
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("output_stride", "share"), [(32, 0.72), (8, 0.82)])  # at 8 sub-grids are kept as well
def test_mobilenet_v2__keeps_less_for_the_backward_pass(output_stride: int, share: float) -> None:
    ours, theirs = (MobileNetV2(80, output_stride=output_stride) for _ in range(2))
    _replace(theirs)
    assert bytes_kept_per_image(ours, 224) < share * bytes_kept_per_image(theirs, 224)


def _replace(network: nn.Module) -> None:
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, ReLU6):
                setattr(module, name, nn.ReLU6(inplace=True))


@pytest.mark.parametrize("recompute", [False, True])
def test_mobilenet_v2__has_the_gradients_of_one_with_pytorchs(recompute: bool) -> None:
    torch.manual_seed(0)
    ours = MobileNetV2(5, width=0.35, recompute=recompute, dropout=0)
    theirs = copy.deepcopy(ours)
    _replace(theirs)
    x = torch.randn(3, 3, 64, 64)
    for network in (ours, theirs):
        network(x).square().sum().backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0, msg=name)


def test_relu6__within_a_recomputed_block() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), ReLU6(), nn.Conv2d(8, 3, 3))
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    (plain,) = torch.autograd.grad(block(x).sum(), x)
    (again,) = torch.autograd.grad(recomputed(block, x).sum(), x)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)


def test_relu6__is_traced_as_an_operation_of_pytorchs() -> None:
    """What compiles the training step sees no function of ours, which it would have to leave out."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), ReLU6()).train()
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> torch.fx.GraphModule:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    compiled = torch.compile(network, backend=backend, fullgraph=True)
    compiled(torch.randn(2, 3, 8, 8)).sum().backward()
    assert any("relu6" in name for name in seen)
    assert not any("autograd" in name.lower() or "ClampInPlace" in name for name in seen)


def test_relu6__can_be_copied_and_pickled() -> None:
    for module in (copy.deepcopy(ReLU6()), pickle.loads(pickle.dumps(ReLU6()))):
        assert module(torch.tensor([7.0])).item() == 6
