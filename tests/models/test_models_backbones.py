import sys

import numpy as np
import pytest
import torch
from torch import nn

from src.config.schema.model import TimmConfig
from src.models.build import build_model
from src.models.errors import ModelError
from src.models.figures import model_figures
from src.models.preprocess import Normalize

timm = pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("name", "stages"),
    [("mobilenetv3_small_050", 8), ("resnet10t", 5), ("convnext_atto", 6), ("test_vit", None)],
)
def test_timm__builds_with_head_prior_and_stages(name, stages):
    torch.manual_seed(0)
    frequency = np.array([0.5, 0.1, 0.02])
    model = build_model(TimmConfig(name=name, dropout=0.0), num_classes=3, class_frequency=frequency).eval()
    side = model.network.pretrained_cfg["input_size"][-1] if name == "test_vit" else 64
    with torch.no_grad():
        probabilities = model(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)).sigmoid()
    np.testing.assert_allclose(probabilities.numpy(), np.tile(frequency, (2, 1)), rtol=0.5)
    assert model.head is model.network.get_classifier()
    assert model.head.weight.std().item() == pytest.approx(0.01, rel=0.3)
    assert stages in (None, len(model.stages))
    staged = [id(p) for stage in model.stages for p in stage.parameters()]
    assert len(staged) == len(set(staged))
    assert not set(staged) & {id(p) for p in model.head.parameters()}
    loose = {
        n for n, p in model.network.named_parameters() if id(p) not in {*staged, *map(id, model.head.parameters())}
    }
    assert loose == ({"cls_token", "pos_embed"} if name == "test_vit" else set())


def test_timm__normalisation_is_the_networks_own():
    network = timm.create_model("mobilenetv3_small_050")
    data = timm.data.resolve_model_data_config(network)
    x = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
    model = build_model(TimmConfig(name="test_vit"), num_classes=3)
    expected = timm.data.resolve_model_data_config(model.network)
    assert expected["mean"] != data["mean"]
    torch.testing.assert_close(model.preprocess(x), Normalize(expected["mean"], expected["std"])(x))


def test_timm__output_stride_where_supported():
    model = build_model(TimmConfig(name="resnet10t", output_stride=8), num_classes=3)
    with torch.no_grad():
        assert model.network.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1] == 8


def test_timm__output_stride_where_not():
    with pytest.raises(ModelError, match=r"model\.output_stride=16: mobilenetv3_small_050 does not support it"):
        build_model(TimmConfig(name="mobilenetv3_small_050", output_stride=16), num_classes=3)


def test_timm__dropout_reaches_the_network():
    assert build_model(TimmConfig(name="mobilenetv3_small_050", dropout=0.41), num_classes=3).network.drop_rate == 0.41


def test_timm__frozen_batch_norms_stay_frozen():
    model = build_model(TimmConfig(name="mobilenetv3_small_050", freeze=2), num_classes=3).train()
    frozen = {id(m) for stage in model.stages[:2] for m in stage.modules() if isinstance(m, nn.BatchNorm2d)}
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert frozen
    assert all(m.training == (id(m) not in frozen) for m in norms)
    assert not model.network.conv_stem.weight.requires_grad
    assert model.network.conv_head.weight.requires_grad


def test_timm__unknown_name_gets_the_nearest():
    with pytest.raises(ModelError, match=r"no such network; did you mean model\.name=mobilenetv3_large_100\?"):
        build_model(TimmConfig(name="mobilnetv3_large_10"), num_classes=3)


def test_timm__unknown_weights_tag():
    with pytest.raises(ModelError, match=r"Invalid pretrained tag \(nope\)"):
        build_model(TimmConfig(name="resnet18.nope", pretrained=True), num_classes=3)


def test_timm__no_network_for_pretrained_weights(monkeypatch):
    def offline(*_: object, **__: object) -> None:
        raise FileNotFoundError("cannot reach the hub\nretry")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    with pytest.raises(ModelError, match=r"model\.pretrained=True: cannot reach the hub$"):
        build_model(TimmConfig(name="resnet10t", pretrained=True), num_classes=3)


def test_timm__a_head_that_is_not_linear():
    with pytest.raises(ModelError, match="expected one linear layer"):
        build_model(TimmConfig(name="deit_tiny_distilled_patch16_224"), num_classes=3)


def test_timm__not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"needs timm; pip install '\.\[timm\]'"):
        build_model(TimmConfig(name="resnet18"), num_classes=3)


def test_timm__figures_of_a_published_network():
    with torch.device("meta"):
        network = timm.create_model("mobilenetv3_large_100")
    figures = model_figures(network, 224)
    assert figures.parameters == 5_483_032  # timm's results table: 5.48 M, 0.2 GMAC
    assert figures.gmac == pytest.approx(0.22, abs=0.01)
