"""The averaged weights against a loop in float64, under a real Trainer."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from src.callbacks.checkpoint_io import AtomicCheckpointIO, load_checkpoint
from src.callbacks.ema import EMA, decay_per_step

STEPS = 30


class Toy(pl.LightningModule):
    """A frozen layer, a batch norm (whose step count is an integer buffer) and a layer that learns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.norm, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.frozen.requires_grad_(False)
        self.seen: list[dict[str, Tensor]] = []
        self.evaluated: dict[str, Tensor] = {}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = (self.head(self.norm(self.frozen(batch))) - batch.sum(1, keepdim=True)).square().mean()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.evaluated = self.weights()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(self.weights())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.05)

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.state_dict().items()}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Toy, dict[str, Any], float]:
    toy, decay = Toy(), 0.7
    data = torch.randn(STEPS * 8, 4, generator=torch.Generator().manual_seed(1))
    path: Path = tmp_path_factory.mktemp("ema") / "toy.ckpt"

    class Saver(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.save_checkpoint(path)

    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[EMA(decay), Saver()], plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
    )  # fmt: skip
    loader: Any = torch.utils.data.DataLoader(data, batch_size=8)
    trainer.fit(toy, loader, loader)
    return toy, load_checkpoint(path), decay


def averaged_by_loop(seen: list[dict[str, Tensor]], name: str, decay: float) -> Tensor:
    """The first update takes the weights as they are, the n-th mixes with min(decay, (1 + n) / (10 + n))."""
    average = seen[0][name].double()
    for n, weights in enumerate(seen[1:], start=1):
        kept = min(decay, (1 + n) / (10 + n))
        average = kept * average + (1 - kept) * weights[name].double()
    return average


def test_ema__equals_a_float64_loop_with_warm_up(fitted: tuple[Toy, dict[str, Any], float]) -> None:
    toy, checkpoint, decay = fitted
    assert len(toy.seen) == STEPS
    assert (1 + 1) / (10 + 1) < decay < (1 + STEPS) / (10 + STEPS)  # both branches of the minimum
    for name in ("head.weight", "head.bias", "norm.weight", "norm.running_mean", "norm.running_var"):
        expected = averaged_by_loop(toy.seen, name, decay)
        torch.testing.assert_close(checkpoint["state_dict"][name].double(), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(expected, toy.seen[-1][name].double(), rtol=1e-5, atol=1e-6)


def test_ema__integer_buffers_are_copied(fitted: tuple[Toy, dict[str, Any], float]) -> None:
    count = fitted[1]["state_dict"]["norm.num_batches_tracked"]
    assert (count.dtype, int(count)) == (torch.int64, STEPS)


def test_ema__checkpoint_holds_both_weights(fitted: tuple[Toy, dict[str, Any], float]) -> None:
    toy, checkpoint, _ = fitted
    assert checkpoint["state_dict"].keys() == checkpoint["current_model_state"].keys()
    for name, trained in toy.seen[-1].items():
        assert torch.equal(checkpoint["current_model_state"][name], trained)


def test_ema__frozen_parameters_stay_bit_equal(fitted: tuple[Toy, dict[str, Any], float]) -> None:
    for name, start in Toy().frozen.state_dict().items():
        assert torch.equal(fitted[1]["state_dict"][f"frozen.{name}"], start)
        assert torch.equal(fitted[1]["current_model_state"][f"frozen.{name}"], start)


def test_ema__the_average_is_what_is_evaluated(fitted: tuple[Toy, dict[str, Any], float]) -> None:
    toy, checkpoint, _ = fitted
    for name, value in checkpoint["state_dict"].items():
        assert torch.equal(toy.evaluated[name], value)


@pytest.mark.parametrize(("decay", "steps"), [(0.82, 60), (0.5, 1), (0.0, 7)])
def test_decay_per_step__an_epoch_keeps_the_share_asked_for(decay: float, steps: int) -> None:
    assert decay_per_step(decay, steps) ** steps == pytest.approx(decay)


def test_decay_per_step__an_epoch_without_a_step_counts_as_one() -> None:
    assert decay_per_step(0.82, 0) == 0.82
