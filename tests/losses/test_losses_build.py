import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from src.config.schema.loss import ASLConfig, BCEConfig, FocalConfig, LossConfig, SoftF1Config, TwoWayConfig
from src.losses.build import build_loss
from src.losses.functional import asl, bce, focal, soft_f1, two_way

COUNTS = np.array([50, 5, 0])
Z = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) * 5
Y = (torch.rand(64, 3, generator=torch.Generator().manual_seed(1)) < 0.3).to(torch.uint8)
CONFIGS = [
    BCEConfig(),
    BCEConfig(pos_weight="sqrt", scale=80.0),
    BCEConfig(pos_weight="effective", beta=0.9),
    FocalConfig(gamma=1.5, alpha=0.3, scale=2.0),
    ASLConfig(gamma_pos=1.0, gamma_neg=3.0, clip=0.1),
    SoftF1Config(average="micro", bce_weight=0.25, scale=3.0),
    SoftF1Config(mask_absent=False),
    TwoWayConfig(temperature_pos=2.0, temperature_neg=0.5, scale=2.0),
]


def build(cfg: LossConfig) -> nn.Module:
    return build_loss(cfg, class_counts=COUNTS, num_images=100)


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        (BCEConfig(scale=2.0), 2 * bce(Z, Y).mean()),
        (
            BCEConfig(pos_weight="sqrt", pos_weight_cap=4.0),
            bce(Z, Y, pos_weight_C=torch.tensor([1.0, 4.0, 4.0])).mean(),
        ),
        (FocalConfig(gamma=1.5, alpha=0.3), focal(Z, Y, gamma=1.5, alpha=0.3).mean()),
        (
            ASLConfig(gamma_pos=1.0, gamma_neg=3.0, clip=0.1),
            asl(Z, Y, gamma_pos=1.0, gamma_neg=3.0, clip=0.1).mean(),
        ),
        (
            SoftF1Config(average="micro", bce_weight=0.25, scale=3.0),
            3 * (0.75 * soft_f1(Z, Y, average="micro") + 0.25 * bce(Z, Y).mean()),
        ),
        (SoftF1Config(mask_absent=False, bce_weight=0.0), soft_f1(Z, Y, mask_absent=False)),
        (
            TwoWayConfig(temperature_pos=2.0, temperature_neg=0.5, scale=2.0),
            2 * two_way(Z, Y, temperature_pos=2.0, temperature_neg=0.5),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_build_loss__hands_every_field_on(cfg: LossConfig, expected: torch.Tensor) -> None:
    torch.testing.assert_close(build(cfg)(Z, Y), expected)


@pytest.mark.parametrize("cfg", CONFIGS, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_build_loss__autocast_changes_nothing(cfg: LossConfig, dtype: torch.dtype) -> None:
    loss, logits = build(cfg), Z.to(dtype).requires_grad_()
    expected = loss(logits.float(), Y)
    with torch.autocast("cpu", dtype=dtype):
        actual = loss(logits, Y)
    assert actual.shape == ()
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    actual.backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("cfg", CONFIGS, ids=repr)
def test_build_loss__pickles_and_has_no_state(cfg: LossConfig) -> None:
    loss = build(cfg)
    assert loss.state_dict() == {}
    torch.testing.assert_close(pickle.loads(pickle.dumps(loss))(Z, Y), loss(Z, Y), rtol=0, atol=0)


def test_build_loss__weights_move_with_the_module() -> None:
    assert build(BCEConfig(pos_weight="sqrt")).to("meta").pos_weight.device.type == "meta"


def test_build_loss__unknown_configuration_is_named() -> None:
    with pytest.raises(TypeError, match="no loss for LossConfig"):
        build(LossConfig())


def test_soft_f1_loss__warns_once_about_a_small_training_batch() -> None:
    loss = build(SoftF1Config())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss.eval()
        loss(Z[:8], Y[:8])
    loss.train()
    with pytest.warns(UserWarning, match="macro soft-F1 sees 8 images per batch"):
        loss(Z[:8], Y[:8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(Z[:8], Y[:8])


@pytest.mark.parametrize(("cfg", "first"), [(SoftF1Config(average="micro"), 8), (SoftF1Config(), 64)], ids=repr)
def test_soft_f1_loss__micro_and_a_short_last_batch_do_not_warn(cfg: LossConfig, first: int) -> None:
    loss = build(cfg)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(Z[:first], Y[:first])
        loss(Z[:8], Y[:8])
