"""Numbers that have gone bad stop the run; numbers that are merely odd do not."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from src.callbacks.numerics import NumericsError, WatchNumerics
from src.config.schema.errors import UserError


class FakeScaler:
    """A gradient scaler that halves its scale at each overflow; there is no CUDA here to have a real one."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def get_scale(self) -> float:
        return self.scale


def trainer(*, last: bool = False, epoch: int = 4, scale: float | None = None) -> Any:
    plugin = object.__new__(MixedPrecision) if scale is not None else object()
    if isinstance(plugin, MixedPrecision):
        plugin.scaler = FakeScaler(scale)
    return SimpleNamespace(
        is_last_batch=last, current_epoch=epoch, precision="bf16-mixed", precision_plugin=plugin
    )  # fmt: skip


def feed(watch: WatchNumerics, losses: list[float], **options: Any) -> None:
    for batch_idx, loss in enumerate(losses):
        outputs = {"loss": torch.tensor(loss)}
        found = trainer(last=batch_idx == len(losses) - 1, **options)
        watch.on_train_batch_end(found, None, outputs, {}, batch_idx)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 3, 6])
def test_watch__non_finite_loss_anywhere_in_an_epoch_stops(bad: float, position: int) -> None:
    losses = [0.5] * 7
    losses[position] = bad
    with pytest.raises(NumericsError, match=r"the loss became .* in epoch 4, by batch 6 \(precision bf16-mixed\)") as e:
        feed(WatchNumerics(), losses)
    assert "lower optimizer.lr, set trainer.gradient_clip=1, or try trainer.precision=fp32" in str(e.value)
    assert isinstance(e.value, UserError)


def test_watch__looks_every_so_many_batches() -> None:
    watch, outputs = WatchNumerics(every=3), {"loss": torch.tensor(math.nan)}
    for batch_idx in range(2):
        watch.on_train_batch_end(trainer(), None, outputs, {}, batch_idx)
    with pytest.raises(NumericsError, match="by batch 2"):
        watch.on_train_batch_end(trainer(), None, outputs, {}, 2)


def test_watch__large_losses_and_next_epochs_pass() -> None:
    watch = WatchNumerics()
    for _ in range(3):
        feed(watch, [1e30] * 7)


@pytest.mark.parametrize("empty", [None, {}])
def test_watch__batch_without_a_loss_is_passed_over(empty: Any) -> None:
    """Lightning hands over an empty dict where training_step gave None: every image of the batch was broken."""
    watch = WatchNumerics()
    watch.on_train_batch_end(trainer(), None, empty, {}, 0)
    watch.on_train_batch_end(trainer(), None, {"loss": torch.tensor(math.nan)}, {}, 1)
    with pytest.raises(NumericsError):
        watch.on_train_batch_end(trainer(last=True), None, empty, {}, 2)


def test_watch__collapsed_fp16_scale_stops() -> None:
    with pytest.raises(NumericsError, match=r"fp16 gradients overflow at every step \(epoch 4, by batch 1, scale"):
        feed(WatchNumerics(), [0.5, 0.5], scale=2.0**-15)


@pytest.mark.parametrize("scale", [2.0**-14, 1.0, 65536.0])
def test_watch__usual_fp16_scales_pass(scale: float) -> None:
    feed(WatchNumerics(), [0.5, 0.5], scale=scale)
