"""What is shown while training."""

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from src.callbacks.progress import EpochBar, epoch_line

RECORD = {
    "epoch": 2, "train/loss": 0.12345, "train/f1_micro": 0.5, "holdout/map": 0.25, "holdout/f1_micro": 0.375,
    "holdout/f1_macro": 0.125, "images_per_second": 123.4, "seconds": 9.6,
}  # fmt: skip


def test_epoch_line__content() -> None:
    assert epoch_line(RECORD, max_epochs=5, monitor_split="holdout") == (
        "epoch 3/5  loss 0.1235  train micro-F1 0.500  holdout mAP 0.250  micro-F1 0.375  macro-F1 0.125  "
        "123 img/s  10 s"
    )


def test_epoch_line__val_curve_is_added_only_beside_another_split() -> None:
    with_val = {**RECORD, "val/map": 0.5, "val/f1_micro": 0.5, "val/f1_macro": 0.5}
    assert "macro-F1 0.125  val mAP 0.500  123 img/s" in epoch_line(with_val, max_epochs=5, monitor_split="holdout")
    assert epoch_line(with_val, max_epochs=5, monitor_split="val").count("mAP") == 1


def trainer(*, last: bool) -> Any:
    return SimpleNamespace(
        accumulate_grad_batches=1, current_epoch=0, max_epochs=2, num_training_batches=3, is_last_batch=last
    )


def run_epoch(bar: EpochBar, outputs: Any) -> None:
    bar.on_train_epoch_start(trainer(last=False), None)
    for batch_idx in range(3):
        found = trainer(last=batch_idx == 2)
        bar.on_train_batch_end(found, None, outputs, {"image": torch.zeros(4, 1)}, batch_idx)
    bar._progress.refresh()  # as its thread does ten times a second


def test_bar__shows_epoch_steps_and_loss_and_gives_the_terminal_back() -> None:
    out = io.StringIO()
    bar = EpochBar(Console(file=out, force_terminal=True, width=100), refresh_seconds=0)
    for _ in range(2):
        run_epoch(bar, {"loss": torch.tensor(0.25)})
        bar.on_train_epoch_end(trainer(last=True), None)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "epoch 1/2" in shown
    assert "3/3" in shown
    assert "loss 0.2500" in shown
    assert out.getvalue().rstrip("\r\n").endswith(("\x1b[?25h", "\x1b[2K"))  # cursor shown again, line erased


@pytest.mark.parametrize("outputs", [None, {}])
def test_bar__batch_without_a_loss_does_not_crash(outputs: Any) -> None:
    out = io.StringIO()
    bar = EpochBar(Console(file=out, force_terminal=True, width=100), refresh_seconds=0)
    run_epoch(bar, outputs)
    bar.on_train_epoch_end(trainer(last=True), None)
    assert "loss nan" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())


def test_bar__exception_gives_the_terminal_back() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bar = EpochBar(console)
    run_epoch(bar, {"loss": torch.tensor(0.25)})
    bar.on_exception(trainer(last=True), None, KeyboardInterrupt())
    with Console.status(console, "another live display is possible again"):
        pass


def test_bar__resumed_in_mid_epoch_without_a_start_does_not_crash() -> None:
    bar = EpochBar(Console(file=io.StringIO(), force_terminal=True, width=100))
    found = trainer(last=True)
    bar.on_train_batch_end(found, None, {"loss": torch.tensor(1.0)}, {"image": torch.zeros(4, 1)}, 2)
    bar.on_train_epoch_end(found, None)
