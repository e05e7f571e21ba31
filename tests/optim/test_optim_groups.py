import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2

from src.config.schema.optim import AdamWConfig, OptimizerConfig
from src.optim.groups import param_groups

CFG = OptimizerConfig(lr=0.1, weight_decay=0.02, head_lr_multiplier=10.0)


def names_by_group(model: nn.Module, head: nn.Module) -> dict[str, set[str]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {group["name"]: {names[id(p)] for p in group["params"]} for group in param_groups(model, head=head, cfg=CFG)}


@pytest.fixture
def network() -> nn.Module:
    return mobilenet_v2(num_classes=4, width_mult=0.1)


def test_param_groups__every_parameter_exactly_once(network):
    for parameter in network.features[:5].parameters():
        parameter.requires_grad_(False)
    listed = [id(p) for group in param_groups(network, head=network.classifier[1], cfg=CFG) for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in network.parameters()}


def test_param_groups__members_of_mobilenet_v2(network):
    groups = names_by_group(network, network.classifier[1])
    depthwise = {f"{n}.weight" for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    norms = {
        f"{n}.{k}" for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d) for k in ("weight", "bias")
    }
    pointwise = {f"{n}.weight" for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1}
    assert len(depthwise) == 17
    assert groups == {
        "backbone": pointwise,
        "backbone_no_decay": depthwise | norms,
        "head": {"classifier.1.weight"},
        "head_no_decay": {"classifier.1.bias"},
    }


def test_param_groups__rates_and_decay(network):
    groups = param_groups(network, head=network.classifier[1], cfg=CFG)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("backbone", 0.1, 0.02),
        ("backbone_no_decay", 0.1, 0.0),
        ("head", 1.0, 0.02),
        ("head_no_decay", 1.0, 0.0),
    ]


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.grouped = nn.Conv2d(4, 8, 3, groups=2)
        self.expanding_depthwise = nn.Conv2d(4, 8, 3, groups=4)
        self.grey_stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.LayerNorm([4, 5, 5])
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Linear(4, 2, bias=False)


def test_param_groups__by_kind():
    model = Mixed()
    groups = names_by_group(model, model.head)
    assert groups["backbone"] == {
        "grouped.weight",
        "grey_stem.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }
    assert {"class_token", "expanding_depthwise.weight", "norm.weight", "grouped.bias"} < groups["backbone_no_decay"]
    assert groups["head"] == {"head.weight"}
    assert "head_no_decay" not in groups


def test_param_groups__shared_weights_are_listed_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    groups = names_by_group(model, model[1])
    assert groups["head"] == {"0.weight"}
    assert sum(len(members) for members in groups.values()) == 3


def test_param_groups__frozen_parameters_neither_move_nor_decay(network):
    first = network.features[0][0].weight.requires_grad_(False)
    before, second = first.clone(), network.features[1].conv[1].weight
    moved = second.clone()
    cfg = AdamWConfig(lr=0.1, weight_decay=0.5)
    optimizer = torch.optim.AdamW(param_groups(network, head=network.classifier[1], cfg=cfg))
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    assert torch.equal(first, before)
    assert not torch.equal(second, moved)
    first.requires_grad_(True)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    assert not torch.equal(first, before)
