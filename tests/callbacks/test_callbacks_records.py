"""One record per epoch; a resumed run forgets the epochs that it trains again."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.callbacks.records import EpochRecords
from src.runfolder import Record, RunFolder


class FakeLogger:
    def __init__(self) -> None:
        self.logged: list[tuple[int, Record]] = []

    def log_metrics(self, metrics: Record, step: int) -> None:
        self.logged.append((step, metrics))


def trainer(epoch: int, *, world_size: int = 1, main: bool = True, logger: FakeLogger | None = None) -> Any:
    return SimpleNamespace(
        current_epoch=epoch,
        global_step=10 * (epoch + 1),
        world_size=world_size,
        is_global_zero=main,
        callback_metrics={"train/loss": torch.tensor(0.5), "holdout/map": torch.tensor(0.25)},
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}, {"lr": 0.3}])],
        loggers=[logger] if logger else [],
    )


def train_epoch(records: EpochRecords, epoch: int, **options: Any) -> None:
    found = trainer(epoch, **options)
    records.on_train_epoch_start(found, None)
    for batch_idx in range(3):
        records.on_train_batch_end(found, None, None, {"image": torch.zeros(8, 1)}, batch_idx)
    records.on_train_epoch_end(found, None)


def start(folder: RunFolder, epoch: int) -> EpochRecords:
    records = EpochRecords(folder, lambda record: None)
    records.on_train_start(trainer(epoch), None)
    return records


def test_records__content_files_and_announcement(tmp_path: Path) -> None:
    announced: list[Record] = []
    logger = FakeLogger()
    records = EpochRecords(RunFolder(tmp_path), announced.append)
    records.on_train_start(trainer(0), None)
    for epoch in range(2):
        train_epoch(records, epoch, logger=logger)
    written = RunFolder(tmp_path).read_records()
    assert written == announced
    assert [record["epoch"] for record in written] == [0, 1]
    assert [record["step"] for record in written] == [10, 20]
    assert written[0]["lr"] == 0.3  # the largest of the groups
    assert written[0]["holdout/map"] == 0.25
    assert written[0]["images_per_second"] > 0
    assert records.train_images == 2 * 3 * 8
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(row["train/loss"]) for row in rows] == [0.5, 0.5]
    assert [step for step, _ in logger.logged] == [0, 1]
    assert "epoch" not in logger.logged[0][1]


def test_records__epochs_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    killed = start(folder, 0)
    for epoch in range(3):
        train_epoch(killed, epoch)
    resumed = start(folder, 1)  # the checkpoint was written within epoch 1
    train_epoch(resumed, 1)
    assert [record["epoch"] for record in folder.read_records()] == [0, 1]
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 2


def test_records__a_new_run_does_not_take_up_old_ones(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_records([{"epoch": 0}, {"epoch": 1}])
    assert start(folder, 0).records == []


def test_records__time_and_images_survive_a_resume(tmp_path: Path) -> None:
    first = start(RunFolder(tmp_path), 0)
    train_epoch(first, 0)
    second = start(RunFolder(tmp_path), 1)
    second.load_state_dict(first.state_dict())
    train_epoch(second, 1)
    assert second.train_images == 2 * 3 * 8
    assert second.train_seconds >= first.train_seconds > 0


@pytest.mark.parametrize("main", [True, False])
def test_records__only_the_main_process_writes(tmp_path: Path, main: bool) -> None:
    records = start(RunFolder(tmp_path), 0)
    train_epoch(records, 0, main=main, world_size=4)
    assert (tmp_path / "metrics.jsonl").exists() == main
    assert records.train_images == 3 * 8 * 4
