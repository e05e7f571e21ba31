"""What ``data.sampler`` changes in a run: its length, its first answer, its weights; and that it resumes exactly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.data.datamodule import MultiLabelDataModule
from src.run.assembly import build_data, build_task
from src.run.banner import banner
from src.run.hardware import Hardware, choose
from src.runfolder import RunFolder
from src.task import MultiLabelTask
from tests.conftest import Compose
from tests.run.conftest import Run

REPEAT = ("data.sampler=repeat_factor", "data.repeat_threshold=0.2", "data.image_size=32", "data.train_images=64",
          "data.batch_size=8")  # fmt: skip


class KilledError(Exception):
    """Stands for the end of a process."""


def parts(smoke: Compose, *overrides: str) -> tuple[Any, MultiLabelDataModule, MultiLabelTask, Hardware]:
    config = smoke("data.image_size=32", *overrides)
    hardware = choose(device="cpu", precision="fp32", num_threads=0, num_workers=0)
    data = build_data(config, hardware)
    return config, data, build_task(config, data), hardware


def last_weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder.last, weights_only=True)["current_model_state"]
    return weights


def test_repeat_factor__killed_in_mid_epoch_and_resumed_is_bit_equal(
    run: Run, smoke: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*REPEAT, "trainer.max_epochs=2", "callbacks.checkpoint_steps=3", "augment=strong", "scheduler=onecycle",
               "trainer.precision=fp32")  # fmt: skip
    monkeypatch.setattr("src.run.training.finish", lambda *_, **__: None)  # scores and report come after the weights
    whole = run(tmp_path / "whole", *options)
    step = MultiLabelTask.training_step

    def step_or_die(self: MultiLabelTask, batch: Any, batch_idx: int) -> Any:
        if (self.current_epoch, batch_idx) == (1, 5):
            raise KilledError
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(MultiLabelTask, "training_step", step_or_die)
        with pytest.raises(KilledError):
            run(tmp_path / "killed", *options)
    saved = torch.load(RunFolder(tmp_path / "killed").last, weights_only=True)
    assert not saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    resumed = run(tmp_path / "killed", *options, resumed=True)
    expected, found = last_weights(whole), last_weights(resumed)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    records = whole.read_records()
    steps = epoch_length_by_definition(parts(smoke, *options)[1].train_targets, 0.2) // 8
    assert [record["step"] for record in records] == [steps, 2 * steps]
    # The holdout of 13 images has no class of the tail.
    groups = ("train/f1_head", "train/f1_mid", "train/f1_tail", "holdout/f1_head", "holdout/f1_mid")
    assert all(0 <= record[key] <= 1 for record in records for key in groups)


def epoch_length_by_definition(targets: np.ndarray, threshold: float) -> int:
    """The sum of LVIS' repeat factors, rounded up."""
    frequency = targets.mean(axis=0)
    factors = [max([1.0, *np.sqrt(threshold / frequency[target == 1])]) for target in targets]
    assert sum(factors) > len(targets) + 8
    return int(np.ceil(sum(factors)))


def test_prior_and_weights__follow_the_sampler(smoke: Compose) -> None:
    groups = []
    for sampler in ("uniform", "class_aware", "repeat_factor"):
        options = (f"data.sampler={sampler}", "data.repeat_threshold=0.2", "loss=bce", "loss.pos_weight=sqrt",
                   "loss.pos_weight_cap=1000")  # fmt: skip
        _, data, task, _ = parts(smoke, *options)
        shown = np.rint(data.train_draws @ data.train_targets)
        visits = data.train_draws.sum()
        bias = task.model.head.bias.detach().double().numpy()
        np.testing.assert_allclose(1 / (1 + np.exp(-bias)), np.clip(shown / visits, 1e-4, 1), rtol=1e-5)
        np.testing.assert_allclose(task.loss.pos_weight.numpy(), np.sqrt((visits - shown) / shown), rtol=1e-5)
        groups.append(task.info.frequency_groups_C.tolist())
    assert groups[0] == groups[1] == groups[2]


@pytest.mark.parametrize("sampler", ["uniform", "class_aware", "repeat_factor"])
def test_banner__one_line_where_something_is_resampled(smoke: Compose, tmp_path: Path, sampler: str) -> None:
    config, data, task, hardware = parts(smoke, f"data.sampler={sampler}", "data.repeat_threshold=0.2")
    text = banner(config, data, task, hardware, tmp_path, resumed="")
    lines = [line for line in text.splitlines() if line.startswith("sampler")]
    if sampler == "uniform":
        assert lines == []
        return
    counts, expected = data.train_targets.sum(axis=0), data.train_draws @ data.train_targets
    before, after = counts.max() / counts[counts > 0].min(), expected.max() / expected[expected > 0].min()
    assert len(lines) == 1
    assert f"{sampler}" in lines[0]
    assert f"{data.images_per_epoch} visits an epoch" in lines[0]
    assert f"{before:.0f}:1 -> {after:.0f}:1" in lines[0]
