"""Recomputed activations: the same training, bit for bit, with less kept."""

import pytest
import torch
from torch import Tensor, nn

from src.models.mobilenet_v2 import MobileNetV2


def trained(recompute: bool, *, steps: int = 3) -> nn.Module:
    torch.manual_seed(0)
    network = MobileNetV2(5, width=0.25, output_stride=8, dropout=0.3, recompute=recompute)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        network(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    return network


def test_recompute__weights_and_running_statistics_are_those_without_it() -> None:
    plain, saving = trained(False).state_dict(), trained(True).state_dict()
    assert plain.keys() == saving.keys()
    for name, value in plain.items():
        assert torch.equal(value, saving[name]), name
    assert plain["features.3.conv.1.1.num_batches_tracked"] == 3


def test_recompute__the_next_step_still_updates_the_statistics() -> None:
    network = trained(True, steps=1)
    norm = network.get_submodule("features.3.conv.1.1")
    assert isinstance(norm, nn.BatchNorm2d)
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    network(torch.randn(4, 3, 32, 32))
    assert norm.momentum == 0.1
    assert not torch.equal(before, norm.running_mean)  # type: ignore[arg-type]


def kept_bytes(recompute: bool) -> int:
    """What autograd keeps between the passes, each storage once, without parameters."""
    network = MobileNetV2(5, output_stride=4, recompute=recompute)
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = network(torch.randn(2, 3, 64, 64))
    assert out.requires_grad
    return sum(kept.values())


def test_recompute__keeps_a_fraction_at_output_stride_4() -> None:
    assert kept_bytes(True) < 0.25 * kept_bytes(False)


@pytest.mark.parametrize("frozen", [0, 3])
def test_recompute__nothing_is_recomputed_in_evaluation(frozen: int) -> None:
    network = MobileNetV2(5, width=0.25, recompute=True).eval()
    plain = MobileNetV2(5, width=0.25).eval()
    plain.load_state_dict(network.state_dict())
    for block in network.features[:frozen]:
        block.requires_grad_(False)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(images), plain(images))
