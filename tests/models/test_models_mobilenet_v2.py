import pytest
import torch
import torchvision
from torch import Tensor, nn

from src.models.mobilenet_v2 import (
    STAGES,
    InvertedResidual,
    MobileNetV2,
    attended,
    dilated_layout,
    make_divisible,
    pooled,
    stage_names,
)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and batch-norm statistics under which activations neither vanish nor saturate."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data.normal_(std=(2 / fan_in) ** 0.5, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(std=0.5, generator=generator)
            module.running_mean.normal_(std=0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network.eval()


def images(side: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def brute_force_dilations(output_stride: int) -> list[tuple[int, int]]:
    """(stride, dilation) per block, from the nominal strides alone.

    Block k must see the pixels it sees in the plain network. Its taps lie one input cell apart there; the plain input
    grid is the product of the strides before it, the dilated grid is capped: the ratio is the dilation.
    """
    nominal = [stride if i == 0 else 1 for _, _, count, stride in STAGES for i in range(count)]
    result, plain, real = [], 2, 2
    for stride in nominal:
        dilation = plain // real
        plain *= stride
        real_after = min(plain, max(output_stride, 2))
        result.append((real_after // real, dilation))
        real = real_after
    return result


@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
def test_dilated_layout__equals_brute_force(output_stride):
    layout = [(block.stride, block.dilation) for block in dilated_layout(output_stride)]
    assert layout == brute_force_dilations(output_stride)


def test_dilated_layout__output_stride_8_by_hand():
    blocks = dilated_layout(8)
    assert [b.dilation for b in blocks] == [1] * 7 + [2] * 7 + [4] * 3
    assert [i for i, b in enumerate(blocks) if b.stride == 2] == [1, 3]


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.0, 1.4])
@pytest.mark.parametrize("output_stride", [4, 32])
def test_mobilenet_v2__state_dict_keys_and_shapes_are_torchvisions(width, output_stride):
    with torch.device("meta"):
        theirs = torchvision.models.mobilenet_v2(num_classes=80, width_mult=width).state_dict()
        ours = MobileNetV2(80, width=width, output_stride=output_stride, padding="seed").state_dict()
    assert [(k, v.shape) for k, v in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


@pytest.mark.parametrize(("width", "seed"), [(1.0, 0), (1.0, 1), (0.5, 2)])
def test_mobilenet_v2__output_is_torchvisions(width, seed):
    theirs = randomised(torchvision.models.mobilenet_v2(num_classes=80, width_mult=width), seed)
    ours = MobileNetV2(80, width=width).eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        expected = theirs(images(97))
        assert expected.std() > 1e-3
        torch.testing.assert_close(ours(images(97)), expected, atol=1e-5, rtol=0)


def test_mobilenet_v2__train_mode_gradients_are_torchvisions():
    theirs = randomised(torchvision.models.mobilenet_v2(num_classes=8, width_mult=0.35, dropout=0.0)).train()
    ours = MobileNetV2(8, width=0.35, dropout=0.0).train()
    ours.load_state_dict(theirs.state_dict())
    for network in (theirs, ours):
        network(images(64, batch=4)).square().sum().backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("width", [0.1, 0.35])  # at 0.1 in and out channels agree where a stride became 1
@pytest.mark.parametrize("padding", ["torchvision", "seed"])
@pytest.mark.parametrize("output_stride", [4, 8, 16])
def test_mobilenet_v2__dilated_features_subsample_to_the_plain_ones(width, padding, output_stride):
    plain = randomised(MobileNetV2(4, width=width, padding=padding))
    dilated = MobileNetV2(4, width=width, padding=padding, output_stride=output_stride).eval()
    dilated.load_state_dict(plain.state_dict())
    step = 32 // output_stride
    with torch.no_grad():
        expected = plain.features(images(128, batch=1))
        dense = dilated.features(images(128, batch=1))
    assert dense.shape[-1] == 128 // output_stride
    torch.testing.assert_close(dense[..., ::step, ::step], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("padding", ["torchvision", "seed"])
@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
@pytest.mark.parametrize(("side", "torchvision_map", "seed_stem"), [(256, 64, 127), (225, 57, 112)])
def test_mobilenet_v2__shapes(padding, output_stride, side, torchvision_map, seed_stem):
    with torch.device("meta"):
        network = MobileNetV2(80, output_stride=output_stride, padding=padding).eval()
        x = torch.empty(2, 3, side, side)
        stem = network.features[0](x)
        assert stem.shape[-1] == (seed_stem if padding == "seed" else (side + 1) // 2)
        if padding == "torchvision":
            assert network.features[:4](x).shape[-1] == torchvision_map
        map_side = -(-stem.shape[-1] * 2 // output_stride)
        assert network.features(x).shape == (2, 1280, map_side, map_side)
        assert network(x).shape == (2, 80)


def test_mobilenet_v2__seed_padding_lets_the_border_through_the_expansion():
    layout = dilated_layout(32)[1]
    inside = randomised(InvertedResidual(16, 24, layout, padding="torchvision"))
    before = InvertedResidual(16, 24, layout, padding="seed").eval()
    before.load_state_dict(inside.state_dict())
    x = torch.randn(1, 16, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (inside(x) - before(x)).abs().amax(dim=(0, 1))
    assert difference[1:, 1:].max() < 1e-5
    assert difference[0].max() > 1e-2


@pytest.mark.parametrize("padding", ["torchvision", "seed"])
def test_mobilenet_v2__depthwise_padding(padding):
    network = MobileNetV2(2, width=0.1, output_stride=8, padding=padding)
    blocks = [m for m in network.modules() if isinstance(m, InvertedResidual)]
    depthwise = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(blocks) == len(depthwise) == 17
    for block, conv in zip(blocks, depthwise, strict=True):
        inside, outside = (0, conv.dilation[0]) if padding == "seed" else (conv.dilation[0], 0)
        assert (conv.padding, block.input_padding) == ((inside, inside), outside)


@pytest.mark.parametrize("channels", [3.2, 8, 11.9, 12, 17.6, 33.6, 44.8, 100, 448])
def test_make_divisible__is_torchvisions(channels):
    assert make_divisible(channels) == torchvision.models._utils._make_divisible(channels, 8)


def test_stage_names__cover_all_features_in_order():
    flat = [name for names in stage_names() for name in names]
    assert flat == [f"features.{i}" for i in range(19)]
    assert [len(names) for names in stage_names()] == [1, 1, 2, 3, 4, 3, 3, 1, 1]


def test_pooled__equals_the_definitions() -> None:
    x_BDHW = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    mean_BD, highest_BD = x_BDHW.flatten(2).mean(2), x_BDHW.flatten(2).max(2).values
    torch.testing.assert_close(pooled(x_BDHW, "avg"), mean_BD)
    assert torch.equal(pooled(x_BDHW, "max"), highest_BD)
    torch.testing.assert_close(pooled(x_BDHW, "mixed"), (mean_BD + highest_BD) / 2)


def test_pooled__one_hot_cell_moves_the_maximum_fully_and_the_mean_little() -> None:
    x_BDHW = torch.zeros(1, 1, 7, 7)
    x_BDHW[..., 3, 3] = 49.0
    assert [pooled(x_BDHW, kind).item() for kind in ("avg", "max", "mixed")] == pytest.approx([1.0, 49.0, 25.0])


def test_attended__equals_the_paper_by_loops() -> None:
    torch.manual_seed(0)
    linear, x_BDHW = torch.nn.Linear(6, 4).double(), torch.randn(3, 6, 2, 5, dtype=torch.float64)
    expected = torch.empty(3, 4, dtype=torch.float64)
    for b in range(3):
        for c in range(4):
            places = [(linear.weight[c] @ x_BDHW[b, :, i, j]).item() for i in range(2) for j in range(5)]
            expected[b, c] = sum(places) / 10 + 0.3 * max(places) + linear.bias[c].item()
    torch.testing.assert_close(attended(x_BDHW, linear, 0.3), expected)


def test_attention__of_0_is_average_pooling_with_the_same_state_dict() -> None:
    options = {"width": 0.25, "dropout": 0.0}
    plain, attending = MobileNetV2(5, **options), MobileNetV2(5, pool="attention", attention=0.0, **options)
    attending.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 64, 64)  # with statistics of the batch: at the start running ones let nothing through
    torch.testing.assert_close(attending(images), plain(images))
    attending.attention = 0.5
    assert not torch.allclose(attending(images), plain(images))


def test_attention__drops_channels_only_while_training() -> None:
    network = MobileNetV2(5, width=0.25, pool="attention", dropout=0.5)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(network.eval()(images), network(images))
    network.train()
    assert not torch.equal(network(images), network(images))
    network.classifier[0].p = 0.0
    assert torch.equal(network(images), network(images))
