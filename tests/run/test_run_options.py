"""What the configuration asks for is what training does."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from src.config.resume import continued
from src.config.schema.errors import ConfigError
from src.config.schema.model import MobileNetV2Config, ModelConfig, TimmConfig
from src.run import banner
from src.run.assembly import build_data, build_task
from src.run.hardware import Hardware, choose
from src.runfolder import RunFolder, RunFolderError
from tests.conftest import Compose
from tests.run.conftest import SHORT, Run

SMALL = ("data.image_size=32", "debug.max_steps=2")


def initial_weights(smoke: Compose, *overrides: str) -> dict[str, torch.Tensor]:
    """The task's state before its first step."""
    config = smoke(*overrides)
    hardware = choose(device="cpu", precision="fp32", num_threads=0, num_workers=0)
    return build_task(config, build_data(config, hardware)).state_dict()


def read(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return weights


@pytest.mark.parametrize(
    "choices",
    [
        ("loss=bce", "loss.pos_weight=effective", "optimizer=adamw", "scheduler=onecycle"),
        ("loss=focal", "optimizer=sgd", "scheduler=cosine"),
        ("loss=soft_f1", "optimizer=rmsprop", "scheduler=constant"),
        ("loss=asl", "optimizer=adam", "scheduler=plateau"),
    ],
    ids=" ".join,
)
def test_choices__train_an_epoch_to_finite_scores(run: Run, tmp_path: Path, choices: tuple[str, ...]) -> None:
    folder = run(tmp_path / "run", "trainer.max_epochs=1", "data.image_size=32", *choices)
    (record,) = folder.read_records()
    assert record["step"] == (160 - len(folder.read_predictions("holdout").scores)) // 16
    assert np.isfinite(list(record.values())).all()
    assert folder.read_json("summary.json")["status"] == "finished"
    assert all(torch.isfinite(value).all() for value in read(folder.best).values())


def test_accumulate_and_clip__steps_and_the_size_of_the_change(run: Run, smoke: Compose, tmp_path: Path) -> None:
    """Without momentum a step of plain SGD is no longer than lr times the clipped norm."""
    options = ("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0",
               "optimizer.lr=1", "scheduler=constant", "callbacks.ema=false", "data.image_size=32", "debug.max_steps=4",
               "trainer.max_epochs=1", "trainer.precision=fp32")  # fmt: skip
    start = initial_weights(smoke, *options)

    def change(name: str, *more: str) -> tuple[int, float]:
        folder = run(tmp_path / name, *options, *more)
        end = read(folder.last)
        parameters = [key for key in start if start[key].is_floating_point() and "running" not in key]
        squares = sum(float((end[key] - start[key]).double().square().sum()) for key in parameters)
        return folder.read_records()[0]["step"], squares**0.5

    assert change("plain", "trainer.accumulate=4")[1] > 0.1
    steps, length = change("clipped", "trainer.accumulate=2", "trainer.gradient_clip=0.01")
    assert steps == 2
    assert 0.005 < length <= 2 * 0.01 * 1.001


def test_no_ema__only_the_trained_weights_are_saved(run: Run, tmp_path: Path) -> None:
    folder = run(tmp_path / "run", *SHORT, "callbacks.ema=false")
    assert "current_model_state" not in torch.load(folder.best, weights_only=True)
    assert folder.read_json("summary.json")["status"] == "finished"


@pytest.mark.parametrize("thaw", [False, True])
def test_freeze__frozen_stages_keep_every_bit_until_they_thaw(
    run: Run, smoke: Compose, tmp_path: Path, thaw: bool
) -> None:
    options = ("model.freeze=2", "trainer.max_epochs=2", *SMALL, *(["model.unfreeze_epoch=1"] if thaw else []))
    start = initial_weights(smoke, *options)
    folder = run(tmp_path / "run", *options)
    end = torch.load(folder.last, weights_only=True)["current_model_state"]
    frozen = [key for key in start if re.match(r"model\.network\.features\.[01]\.", key)]
    assert any("running_mean" in key for key in frozen)
    unchanged = [torch.equal(start[key], end[key]) for key in frozen]
    assert not any(unchanged) if thaw else all(unchanged)
    assert not torch.equal(start["model.network.classifier.1.weight"], end["model.network.classifier.1.weight"])


def test_plateau__its_step_is_in_the_checkpoint_and_is_not_lost_by_a_resume(run: Run, tmp_path: Path) -> None:
    """Micro-F1 at 0.5 stays 0 here, so that each epoch after the first is one without improvement."""
    options = ("scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5", "objective=f1_micro",
               "optimizer.lr=1e-5", *SMALL)  # fmt: skip
    folder = run(tmp_path / "run", *options, "trainer.max_epochs=2")
    rates = [group["lr"] for group in torch.load(folder.last, weights_only=True)["optimizer_states"][0]["param_groups"]]
    assert rates == pytest.approx([0.5e-5] * len(rates))
    run(folder.path, *options, "trainer.max_epochs=3", resumed=True)
    records = folder.read_records()
    assert [record["holdout/f1_micro"] for record in records] == [0, 0, 0]
    # A record is made before the plateau's step of its epoch.
    assert [record["lr"] for record in records] == pytest.approx([1e-5, 1e-5, 0.5e-5])
    last = torch.load(folder.last, weights_only=True)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.25e-5)


def test_early_stopping__ends_the_run_and_keeps_the_best_epoch(run: Run, tmp_path: Path) -> None:
    """Micro-F1 at 0.5 stays 0 here: no epoch is better than the first, and of equal ones the latest is kept."""
    options = ("objective=f1_micro", "callbacks.early_stopping=2", "trainer.max_epochs=9", "optimizer.lr=1e-5")
    folder = run(tmp_path / "run", *options, *SMALL)
    assert [record["epoch"] for record in folder.read_records()] == [0, 1, 2]
    summary = folder.read_json("summary.json")
    assert (summary["status"], summary["best_epoch"], summary["objective"]) == ("finished", 2, 0)


def test_overfit__trains_and_scores_the_same_images(run: Run, tmp_path: Path) -> None:
    folder = run(tmp_path / "run", *SHORT, "debug.overfit_images=24")
    assert len(folder.read_predictions("train").scores) == 24
    assert folder.read_json("thresholds.json")["fitted_on"] == "train"
    assert {"train/loss", "train/map", "train/f1_micro_tuned"} <= folder.read_records()[0].keys()
    assert not (folder.path / "predictions/holdout.npz").exists()


def test_permuted__targets_are_those_of_other_images_and_val_is_left_alone(
    run: Run, finished: RunFolder, tmp_path: Path
) -> None:
    folder = run(tmp_path / "run", *SHORT, "debug.permute_targets=true", "data.holdout=0.3")
    real, permuted = (one.read_predictions("holdout") for one in (finished, folder))
    np.testing.assert_array_equal(real.image_ids, permuted.image_ids)
    assert (real.targets != permuted.targets).any(axis=1).mean() > 0.5
    np.testing.assert_array_equal(
        np.sort(real.targets.sum(axis=1), axis=None).sum(), np.sort(permuted.targets.sum(axis=1), axis=None).sum()
    )
    np.testing.assert_array_equal(finished.read_predictions("val").targets, folder.read_predictions("val").targets)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("clip", [0, 1])
def test_optimizer__is_fused_unless_that_forbids_clipping(run: Run, tmp_path: Path, precision: str, clip: int) -> None:
    words = (f"trainer.precision={precision}", f"trainer.gradient_clip={clip}", "optimizer=adamw", *SMALL)
    folder = run(tmp_path / "run", *words, "trainer.max_epochs=1")
    state = torch.load(folder.last, weights_only=True)["optimizer_states"][0]
    assert {bool(group["fused"]) for group in state["param_groups"]} == {precision == "fp32" or clip == 0}


def test_on_error_skip__counts_each_broken_image_once(run: Run, coco_folder: Path, tmp_path: Path) -> None:
    images = json.loads((coco_folder / "annotations/instances_train2017.json").read_text())["images"]
    for image in images[:40]:  # some of them in the holdout, where rows are numbered from 0 again
        (coco_folder / "train2017" / image["file_name"]).write_bytes(b"")
    options = ("data=coco2017", f"data.root={coco_folder}", "data.train_images=train2017", "data.val_images=val2017",
               "data.image_size=32", "data.batch_size=160", "trainer.max_epochs=2")  # fmt: skip
    folder = run(tmp_path / "run", *options, "data.on_error=skip")
    summary = folder.read_json("summary.json")
    assert summary["skipped_images"] == 40
    assert summary["status"] == "finished"
    assert folder.read_json("env.json")["builtin_sample"] is False
    broken = {image["id"] for image in images[:40]}
    assert broken.isdisjoint(folder.read_predictions("holdout").image_ids.tolist())


def test_on_error_raise__names_the_broken_image_and_loses_nothing(run: Run, coco_folder: Path, tmp_path: Path) -> None:
    from src.data.errors import ImageError

    image = json.loads((coco_folder / "annotations/instances_val2017.json").read_text())["images"][0]
    broken = coco_folder / "val2017" / image["file_name"]
    broken.write_bytes(b"")
    options = ("data=coco2017", f"data.root={coco_folder}", "data.train_images=train2017", "data.val_images=val2017")
    named = rf"{image['file_name']}.*image id {image['id']}\); data.on_error=skip leaves broken images out"
    with pytest.raises(ImageError, match=named) as error:
        run(tmp_path / "run", *options, *SHORT)
    summary = RunFolder(tmp_path / "run").read_json("summary.json")
    assert summary["status"] == "failed"
    assert str(broken) in summary["error"]
    assert error.value.__notes__ == [f"once that is mended, go on with   python -m src.train resume={tmp_path / 'run'}"]
    with pytest.raises(RunFolderError, match=rf"thresholds.json: missing; the run failed \(ImageError: {broken}"):
        RunFolder(tmp_path / "run").read_json("thresholds.json")
    words = continued([f"resume={tmp_path / 'run'}", "data.on_error=skip"])
    assert "data.on_error=skip" in words


def test_batch_of_one__says_what_batch_norm_needs(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one image of 32 px in a batch .* at least 2 images"):
        run(tmp_path / "run", *SMALL, "data.batch_size=1")
    assert not (tmp_path / "run").exists()


def test_banner__of_a_resumed_run_says_where_it_goes_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", *SMALL, "trainer.max_epochs=1", "scheduler=constant")
    first = capsys.readouterr().out
    assert "(resumed" not in first
    assert "MobileNetV2 from scratch, " in first
    run(tmp_path / "run", *SMALL, "trainer.max_epochs=2", "scheduler=constant", resumed=True)
    assert "(resumed after 1 epoch)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (MobileNetV2Config(weights="imagenet"), "from imagenet"),
        (MobileNetV2Config(weights="a/file.pth"), "from a/file.pth"),
        (MobileNetV2Config(weights=None), "from scratch"),
        (TimmConfig(pretrained=True), "from timm's weights"),
        (TimmConfig(pretrained=False), "from scratch"),
    ],
)
def test_start__names_the_weights_that_training_begins_with(model: ModelConfig, said: str) -> None:
    assert banner._start(model) == said


@pytest.mark.parametrize(
    ("idle", "said"), [(1, "; 1 free just now: trainer.num_threads=1 is faster"), (2, ""), (None, "")]
)
def test_crowded__fewer_free_cores_than_threads_are_said(
    monkeypatch: pytest.MonkeyPatch, idle: int | None, said: str
) -> None:
    monkeypatch.setattr(banner, "idle_cores", lambda: idle)
    hardware = Hardware(
        device="cpu", device_name="CPU", precision="32-true", reason="asked for", threads=2, num_workers=0
    )
    assert banner._crowded(hardware).startswith(said)
    assert bool(banner._crowded(hardware)) is bool(said)


def test_progress__the_epoch_line_does_not_run_into_the_bar(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr("src.run.training.console", lambda: Console(file=out, force_terminal=True, width=200))
    run(tmp_path / "run", *SHORT, "callbacks.progress=rich")
    shown = out.getvalue()
    assert "epoch 1/1 " in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert re.search(r"\x1b\[2Kepoch 1/1  loss .* img/s  \d+ s\n", plain)  # on a line that was erased before


def test_progress__none_prints_no_epoch_line(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", *SHORT)
    assert "holdout mAP" not in capsys.readouterr().out


def test_checkpoint_steps__last_is_written_within_an_epoch(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.callbacks.checkpoints import RunCheckpoint

    saved: list[int] = []
    save_last = RunCheckpoint.save_last

    def noted(self: RunCheckpoint, trainer: object) -> None:
        save_last(self, trainer)  # type: ignore[arg-type]
        loops = torch.load(self.folder.last, weights_only=True)["loops"]["fit_loop"]
        saved.append(loops["epoch_loop.batch_progress"]["current"]["processed"])

    monkeypatch.setattr(RunCheckpoint, "save_last", noted)
    run(tmp_path / "run", "trainer.max_epochs=1", "data.image_size=32", "callbacks.checkpoint_steps=3")
    assert saved == [3, 6]
