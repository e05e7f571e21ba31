"""Runs that end badly: what they say, what they keep, and that they can go on."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from src.callbacks.checkpoint_io import CheckpointError
from src.callbacks.numerics import NumericsError
from src.config.schema.errors import Interrupted
from src.models.errors import ModelError
from src.run import training
from src.runfolder import RunFolder
from src.task import MultiLabelTask
from tests.run.conftest import SHORT, Run

LONGER = ("data.image_size=32", "debug.max_steps=4")


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder.last, weights_only=True)
    trained = {f"trained.{name}": value for name, value in checkpoint.get("current_model_state", {}).items()}
    return checkpoint["state_dict"] | trained


def at_step(monkeypatch: pytest.MonkeyPatch, epoch: int, batch: int, action: Any) -> None:
    """Let ``action`` change the loss of one step."""
    step = MultiLabelTask.training_step

    def changed(self: MultiLabelTask, batch_: Any, batch_idx: int) -> Any:
        loss = step(self, batch_, batch_idx)
        return action(loss) if (self.current_epoch, batch_idx) == (epoch, batch) else loss

    monkeypatch.setattr(MultiLabelTask, "training_step", changed)


def test_failed__absurd_learning_rate_ends_in_one_sentence(run: Run, tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match=r"the loss became .*; lower optimizer\.lr"):
        run(tmp_path / "run", "optimizer.lr=1e30", "data.image_size=32", "trainer.max_epochs=1")
    summary = RunFolder(tmp_path / "run").read_json("summary.json")
    assert summary["status"] == "failed"
    assert summary["error"].startswith("NumericsError: the loss became")


def test_failed__keeps_the_checkpoints_of_the_epochs_before(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, 1, 2, lambda loss: loss * torch.nan)
    before = handlers()
    with pytest.raises(NumericsError, match="in epoch 1"):
        run(tmp_path / "run", *LONGER, "trainer.max_epochs=3")
    folder = RunFolder(tmp_path / "run")
    assert folder.read_json("summary.json")["status"] == "failed"
    assert [record["epoch"] for record in folder.read_records()] == [0]
    for path in (folder.best, folder.last):
        assert all(torch.isfinite(value).all() for value in torch.load(path, weights_only=True)["state_dict"].values())
    assert handlers() == before


def test_failed__a_full_disk_is_named_and_the_folder_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(checkpoint: Any, file: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("src.callbacks.checkpoint_io.torch.save", full)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: cannot be written \(No space left on device\)"):
        run(tmp_path / "run", *SHORT)
    assert "No space left" in RunFolder(tmp_path / "run").read_json("summary.json")["error"]


def test_failed__before_training_leaves_no_run_behind(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.freeze=99"):
        run(tmp_path / "run", *SHORT, "model.freeze=99")
    assert not (tmp_path / "run/config.yaml").exists()


def test_finished__signals_are_given_back(run: Run, tmp_path: Path) -> None:
    """Lightning gives back its handlers before it lets callbacks give back theirs."""
    before = handlers()
    run(tmp_path / "run", *SHORT)
    assert handlers() == before


@pytest.mark.parametrize("accumulate", [1, 2])
def test_interrupted__stops_after_a_whole_optimizer_step_and_goes_on_bit_equal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    options = (*LONGER, "trainer.max_epochs=1", f"trainer.accumulate={accumulate}", "trainer.precision=fp32")
    whole = run(tmp_path / "whole", *options)
    before = handlers()

    def interrupt(loss: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return loss

    with monkeypatch.context() as patch:
        at_step(patch, 0, 0, interrupt)
        with pytest.raises(Interrupted) as caught:
            run(tmp_path / "run", *options)
    assert caught.value.exit_code == 130
    assert handlers() == before
    folder = RunFolder(tmp_path / "run")
    assert folder.read_json("summary.json")["status"] == "interrupted"
    run(folder.path, *options, resumed=True)
    expected, found = weights(whole), weights(folder)
    assert expected.keys() == found.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert folder.read_json("summary.json")["status"] == "finished"


def test_interrupted__between_two_epochs_the_finished_one_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(loss: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss

    with monkeypatch.context() as patch:
        at_step(patch, 0, 3, interrupt)  # the last of the epoch
        with pytest.raises(Interrupted) as caught:
            run(tmp_path / "run", *LONGER, "trainer.max_epochs=2")
    assert caught.value.exit_code == 143
    folder = RunFolder(tmp_path / "run")
    assert [record["epoch"] for record in folder.read_records()] == [0]
    assert folder.best.is_file()


def test_interrupted__while_scoring_the_end_can_be_repeated(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", *SHORT)
    folder = RunFolder(tmp_path / "run")
    assert folder.read_json("summary.json")["status"] == "interrupted"
    stopped = folder.last.read_bytes()
    run(folder.path, *SHORT, resumed=True)
    summary = folder.read_json("summary.json")
    assert (summary["status"], summary["best_epoch"]) == ("finished", 0)
    assert summary["objective"] == folder.read_records()[0]["holdout/map"]
    assert folder.last.read_bytes() == stopped  # nothing was trained


def test_batch_of_broken_images__is_passed_over(run: Run, coco_folder: Path, tmp_path: Path) -> None:
    """A batch without a single whole image has no loss; the epoch goes on, and so does the bar."""
    images = json.loads((coco_folder / "annotations/instances_train2017.json").read_text())["images"]
    for image in images[:130]:
        (coco_folder / "train2017" / image["file_name"]).write_bytes(b"")
    options = ("data=coco2017", f"data.root={coco_folder}", "data.train_images=train2017", "data.val_images=val2017",
               "data.image_size=64", "data.batch_size=2", "data.on_error=skip", "debug.max_steps=12")  # fmt: skip
    folder = run(tmp_path / "run", *options, "trainer.max_epochs=1", "callbacks.progress=rich")
    assert folder.read_json("summary.json")["skipped_images"] > 12
