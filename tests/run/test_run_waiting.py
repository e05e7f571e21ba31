"""Nothing in a training step waits for the device: no value is asked for, none is sent from the host."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import MeanMetric

from src.callbacks.ema import _Pairs
from src.config.schema.model import MobileNetV2Config
from src.config.schema.optim import AdamWConfig, ConstantConfig
from src.data.device.paint import paint_batch
from src.losses.modules import ASLLoss, BCELoss, FocalLoss, SoftF1Loss, TwoWayLoss
from src.models.build import build_model
from src.task import MultiLabelTask, TaskInfo
from tests.run.conftest import Run

CLASSES, BATCH, SIDE = 5, 4, 32
WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::masked_select", "aten::equal")
"""What on a GPU ends in a wait: ``item``, shapes that follow from values, tensors of host values."""


class Waits(TorchDispatchMode):
    """Notes such operations; on the CPU they do not wait, but they are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().partition(".")[0] in WAITING:
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


@contextmanager
def watched() -> Iterator[list[str]]:
    with Waits() as waits:
        yield waits.seen


def task(loss: torch.nn.Module, *, output_stride: int = 32) -> MultiLabelTask:
    torch.manual_seed(0)
    cfg = MobileNetV2Config(output_stride=output_stride, width=0.35)
    info = TaskInfo(tuple("abcde"), np.zeros(CLASSES, np.int64), "val", 0, {})
    return MultiLabelTask(
        build_model(cfg, num_classes=CLASSES), loss, info,
        model_cfg=cfg, optimizer_cfg=AdamWConfig(), scheduler_cfg=ConstantConfig(),
        tuned=lambda *_: {}, objective="map",
    ).train()  # fmt: skip


def batch() -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    return {
        "image": torch.from_numpy(rng.integers(0, 256, (BATCH, 3, SIDE, SIDE), np.uint8)),
        "target": torch.from_numpy(rng.integers(0, 2, (BATCH, CLASSES), np.uint8)),
        "skipped": torch.zeros(0, dtype=torch.int64),
    }


@pytest.mark.filterwarnings("ignore:macro soft-F1 sees")
@pytest.mark.parametrize("loss", [BCELoss(), FocalLoss(), ASLLoss(), TwoWayLoss(), SoftF1Loss()])
def test_training_step__asks_the_device_for_nothing(loss: torch.nn.Module) -> None:
    stepping, one = task(loss, output_stride=8), batch()
    average = _Pairs(AveragedModel(stepping), stepping)
    with watched() as seen:
        for _ in range(2):
            value = stepping.training_step(one, 0)
            assert value is not None
            value.backward()  # type: ignore[no-untyped-call]
            average.update(0.9)
    assert not seen


def test_watched__notices_what_asks() -> None:
    stepping, one = task(BCELoss()), batch()
    stepping.train_loss = MeanMetric()  # type: ignore[assignment]
    with watched() as seen:
        stepping.training_step(one, 0)
    assert "aten::_local_scalar_dense" in seen
    with watched() as seen:
        torch.tensor([0.5]) + 1
    assert seen == ["aten::lift_fresh"]


def test_painting__asks_the_device_for_nothing() -> None:
    views = torch.zeros(BATCH, 8)
    views[:, 2:4], views[:, 5:7] = SIDE, 1.1
    images = torch.zeros(BATCH, SIDE, SIDE, 3, dtype=torch.uint8)
    with watched() as seen:
        paint_batch(images, views, image_size=SIDE)
    assert not seen


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: its own record of what waits")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_train__on_cuda_no_step_waits(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    begin = MultiLabelTask.on_train_batch_start

    def checked(self: MultiLabelTask, batch: Any, batch_idx: int) -> None:
        torch.cuda.set_sync_debug_mode("error" if 2 <= batch_idx < 5 else "default")
        begin(self, batch, batch_idx)

    monkeypatch.setattr(MultiLabelTask, "on_train_batch_start", checked)
    try:
        found = run(tmp_path / "run", "trainer.max_epochs=1", "trainer.device=cuda", f"trainer.precision={precision}")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.read_json("summary.json")["status"] == "finished"
