"""Loader processes of validation are there before the first step, under a real Trainer."""

import multiprocessing
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from src.callbacks.loaders import StartLoaders
from src.data.dataset import BatchLoader, as_it_is
from src.data.order import EpochBatchSampler, Key

IMAGES, BATCH, EPOCHS = 7, 3, 2


class Rows(Dataset[Tensor]):
    """Rows as they are asked for."""

    def __len__(self) -> int:
        return IMAGES

    def __getitems__(self, keys: list[Key]) -> Tensor:
        return torch.tensor([[float(key[1])] for key in keys])


class Toy(pl.LightningModule):
    """Notes the loader processes that are there at each step, and what validation was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(1, 1)
        self.processes: list[set[int]] = []
        self.shown: list[list[float]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.processes.append(children())
        loss: Tensor = self.weight(batch).square().mean()
        return loss

    def on_validation_start(self) -> None:
        self.shown.append([])

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.shown[-1] += batch.ravel().tolist()
        assert children() == self.processes[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def children() -> set[int]:
    return {child.pid or 0 for child in multiprocessing.active_children()}


def loader(workers: int) -> BatchLoader:
    order = EpochBatchSampler(IMAGES, BATCH, seed=0, shuffle=False, drop_last=False)
    return BatchLoader(
        Rows(), batch_sampler=order, collate_fn=as_it_is, num_workers=workers, persistent_workers=workers > 0
    )


class Failing(Toy):
    """Does not get to validation."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        assert children()
        raise ZeroDivisionError


def fitted(workers: int, toy: Toy | None = None) -> Toy:
    toy = toy or Toy()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[StartLoaders()], num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    loaders: Any = [loader(workers)]
    trainer.fit(toy, torch.utils.data.DataLoader(torch.rand(8, 1), batch_size=4), loaders)
    return toy


def test_start_loaders__processes_are_there_at_the_first_step_and_stay() -> None:
    before = children()
    toy = fitted(workers=2)
    assert all(len(found - before) == 2 for found in toy.processes)
    assert toy.shown == [list(map(float, range(IMAGES)))] * EPOCHS
    assert children() == before


def test_start_loaders__a_run_that_ends_before_its_first_validation_leaves_none() -> None:
    before = children()
    with pytest.raises(ZeroDivisionError):
        fitted(workers=2, toy=Failing())
    assert children() == before


def test_start_loaders__without_processes_there_is_nothing_to_start() -> None:
    assert fitted(workers=0).shown == [list(map(float, range(IMAGES)))] * EPOCHS
