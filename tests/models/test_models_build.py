import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision

from src.config.schema.model import MobileNetV2Config, ModelConfig
from src.models.build import build_model
from src.models.errors import ModelError
from src.models.preprocess import Normalize

# 80 shares like train2017's: person, then a long tail down to hair drier; 2.9 labels per image
COCO_LIKE = np.concatenate([[0.542], 0.115 * (0.0016 / 0.115) ** (np.arange(79) / 78) ** 1.2])


def images(batch: int = 2, side: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def test_build_model__uint8_to_logits():
    model = build_model(MobileNetV2Config(width=0.25), num_classes=5).eval()
    with torch.no_grad():
        logits = model(images())
        assert logits.shape == (2, 5)
        torch.testing.assert_close(logits, model.network(Normalize()(images())))
        torch.testing.assert_close(logits, model(images().float()))


def test_build_model__configuration_reaches_the_network():
    cfg = MobileNetV2Config(width=0.5, output_stride=8, padding="seed", dropout=0.37)
    model = build_model(cfg, num_classes=5)
    assert model.network.classifier[0].p == 0.37
    assert model.network.features[0][0].out_channels == 16
    assert model.network.features[0][0].padding == (0, 0)
    assert model.network.features[17].conv[1][0].dilation == (4, 4)
    assert model.head is model.network.classifier[1]


def test_build_model__same_seed_same_weights():
    def build(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return dict(build_model(MobileNetV2Config(width=0.1), num_classes=5).state_dict())

    torch.testing.assert_close(build(0), build(0), rtol=0, atol=0)
    assert not torch.equal(build(0)["network.features.0.0.weight"], build(1)["network.features.0.0.weight"])


def test_build_model__convolutions_are_channels_last():
    model = build_model(MobileNetV2Config(width=0.25), num_classes=5)
    assert model.network.features[3].conv[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    x = images().contiguous(memory_format=torch.channels_last)
    assert model.network.features(model.preprocess(x)).is_contiguous(memory_format=torch.channels_last)


def test_build_model__first_loss_is_that_of_the_prior():
    torch.manual_seed(0)
    model = build_model(MobileNetV2Config(), num_classes=80, class_frequency=COCO_LIKE).train()
    targets = torch.from_numpy(COCO_LIKE).float().expand(8, 80)
    with torch.no_grad():
        loss = F.binary_cross_entropy_with_logits(model(images(8)), targets).item()
    best = -(COCO_LIKE * np.log(COCO_LIKE) + (1 - COCO_LIKE) * np.log(1 - COCO_LIKE)).mean()
    assert best == pytest.approx(0.136, abs=0.005)
    assert best <= loss < best + 0.01


def test_build_model__the_seeds_head_starts_at_a_loss_of_6_to_12():
    torch.manual_seed(0)
    cfg = MobileNetV2Config(head_std=1.0, prior_bias=False)
    model = build_model(cfg, num_classes=80, class_frequency=COCO_LIKE).train()
    assert torch.equal(model.head.bias, torch.zeros(80))
    targets = torch.from_numpy(COCO_LIKE).float().expand(8, 80)
    with torch.no_grad():
        assert 6 < F.binary_cross_entropy_with_logits(model(images(8, 128)), targets).item() < 12


def test_build_model__weights_file_wins_over_head_initialisation(tmp_path):
    state = torchvision.models.mobilenet_v2(num_classes=5, width_mult=0.25).state_dict()
    state["classifier.1.bias"] = torch.arange(5.0)
    torch.save(state, tmp_path / "w.pth")
    cfg = MobileNetV2Config(width=0.25, weights=str(tmp_path / "w.pth"), output_stride=8)
    model = build_model(cfg, num_classes=5, class_frequency=np.full(5, 0.1))
    assert model.head.bias.tolist() == [0, 1, 2, 3, 4]


def test_build_model__freeze_and_its_limit():
    model = build_model(MobileNetV2Config(width=0.1, freeze=9), num_classes=5)
    assert [name for name, p in model.network.named_parameters() if p.requires_grad] == [
        "classifier.1.weight",
        "classifier.1.bias",
    ]
    with pytest.raises(ModelError, match=r"model\.freeze=10: the network has 9 stages"):
        build_model(MobileNetV2Config(width=0.1, freeze=10), num_classes=5)


def test_build_model__unknown_configuration():
    with pytest.raises(TypeError, match="ModelConfig"):
        build_model(ModelConfig(), num_classes=5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("padding", ["torchvision", "seed"])
def test_build_model__autocast_stays_finite_and_close(dtype, padding):
    torch.manual_seed(0)
    cfg = MobileNetV2Config(width=0.35, padding=padding, output_stride=16, dropout=0.0)
    model = build_model(cfg, num_classes=80, class_frequency=COCO_LIKE).train()
    with torch.autocast("cpu", dtype=dtype):
        logits = model(images(4))
    logits.float().square().mean().backward()
    assert logits.dtype == dtype
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    torch.testing.assert_close(logits.float(), model(images(4)), atol=0.2, rtol=0.05)


def test_build_model__state_dict_is_the_networks_alone_and_loads_weights_only(tmp_path):
    model = build_model(MobileNetV2Config(width=0.1), num_classes=5)
    assert all(key.startswith("network.") for key in model.state_dict())
    torch.save(model.state_dict(), tmp_path / "m.pth")
    other = build_model(MobileNetV2Config(width=0.1), num_classes=5)
    other.load_state_dict(torch.load(tmp_path / "m.pth", weights_only=True))
    with torch.no_grad():
        assert torch.equal(other.eval()(images()), model.eval()(images()))


def test_build_model__overfits_a_few_images():
    torch.manual_seed(0)
    model = build_model(MobileNetV2Config(width=0.25, dropout=0.0), num_classes=4).train()
    targets = torch.eye(4).repeat(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(25):
        loss = F.binary_cross_entropy_with_logits(model(images(8)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_classifier__deepcopy_is_independent():
    model = build_model(MobileNetV2Config(width=0.1, freeze=2), num_classes=5)
    twin = copy.deepcopy(model)
    assert twin.frozen_stages == 2
    assert twin.head is not model.head
    assert {id(p) for stage in twin.stages for p in stage.parameters()}.isdisjoint({id(p) for p in model.parameters()})
