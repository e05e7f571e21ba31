import pytest
import torch
from torch import nn

from src.config.schema.model import MobileNetV2Config
from src.models.build import build_model
from src.models.classifier import Classifier
from src.models.errors import ModelError
from src.models.freeze import freeze_stages, unfreeze


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return build_model(MobileNetV2Config(width=0.1, dropout=0.0), num_classes=5).train()


def train_a_step(model: Classifier) -> None:
    model.train()  # as Lightning does before every epoch
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    nn.functional.binary_cross_entropy_with_logits(model(x), torch.eye(4, 5)).backward()
    optimizer.step()


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def changed(module: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {key for key, value in module.state_dict().items() if not torch.equal(value, before[key])}


def test_freeze_stages__nothing_frozen_changes_while_the_rest_trains(model):
    freeze_stages(model, 3)
    before = snapshot(model.network)
    train_a_step(model)
    moved = changed(model.network, before)
    assert not {key for key in moved if int(key.split(".")[1]) <= 3 and key.startswith("features")}
    assert "features.4.conv.0.1.running_mean" in moved
    assert "features.4.conv.0.0.weight" in moved
    assert "classifier.1.weight" in moved


def test_freeze_stages__batch_norms_stay_frozen_through_train_and_eval(model):
    freeze_stages(model, 2)
    for _ in range(2):
        model.eval()
        assert not any(module.training for module in model.modules())
        model.train()
        norms = [
            (i, m.training)
            for i, stage in enumerate(model.stages)
            for m in stage.modules()
            if isinstance(m, nn.BatchNorm2d)
        ]
        assert {i for i, training in norms if not training} == {0, 1}
        assert {i for i, training in norms if training} == set(range(2, 9))
        assert model.head.training


def test_freeze_stages__in_eval_mode_stays_in_eval_mode(model):
    model.eval()
    freeze_stages(model, 2)
    unfreeze(model)
    assert not any(module.training for module in model.modules())


def test_unfreeze__everything_trains_again(model):
    freeze_stages(model, 9)
    unfreeze(model)
    assert all(p.requires_grad for p in model.parameters())
    before = snapshot(model.network)
    train_a_step(model)
    assert changed(model.network, before) == set(before)


def test_freeze_stages__fewer_stages_than_before(model):
    freeze_stages(model, 5)
    freeze_stages(model, 1)
    assert [all(p.requires_grad for p in stage.parameters()) for stage in model.stages] == [False] + [True] * 8
    assert [stage.training for stage in model.stages[1:]] == [True] * 8


def test_freeze_stages__too_many_changes_nothing(model):
    with pytest.raises(ModelError, match=r"model\.freeze=12: the network has 9 stages"):
        freeze_stages(model, 12)
    assert model.frozen_stages == 0
    assert all(p.requires_grad for p in model.parameters())


def test_stages__every_parameter_but_the_heads_exactly_once(model):
    staged = [id(p) for stage in model.stages for p in stage.parameters()]
    assert len(staged) == len(set(staged))
    assert set(staged) | {id(p) for p in model.head.parameters()} == {id(p) for p in model.parameters()}
