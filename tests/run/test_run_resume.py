"""A run killed at any moment and resumed ends with the weights of the run that was never stopped, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT

COMMON = [
    "+experiment=smoke", "trainer.max_epochs=3", "data.train_images=240", "data.holdout=0.1",
    "callbacks.checkpoint_steps=3", "callbacks.progress=none", "augment=strong", "trainer.precision=fp32",
]  # fmt: skip


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "src.train", *overrides]


def run(*overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*overrides), cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    raw = {f"raw.{name}": value for name, value in checkpoint["current_model_state"].items()}
    return checkpoint["state_dict"] | raw


def assert_same(one: Path, other: Path) -> None:
    expected, found = weights(one), weights(other)
    assert expected.keys() == found.keys()
    different = [name for name, value in expected.items() if not torch.equal(value, found[name])]
    assert different == []


def kill_in_mid_epoch(folder: Path, *overrides: str) -> None:
    """SIGKILL once a checkpoint from within an epoch is on disk."""
    process = subprocess.Popen(command(*overrides), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    last = folder / "checkpoints/last.ckpt"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if last.is_file() and _is_mid_epoch(last):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.wait()
    assert process.returncode == -signal.SIGKILL, process.stderr.read().decode() if process.stderr else ""


def _is_mid_epoch(path: Path) -> bool:
    loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
    return not loops["epoch_loop.batch_progress"]["is_last_batch"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = run(*COMMON, f"cache_dir={cache_dir}", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_resume__sigkill_in_mid_epoch_is_bit_equal(
    tmp_path: Path, cache_dir: Path, uninterrupted: Path, num_workers: int
) -> None:
    folder = tmp_path / "run"
    kill_in_mid_epoch(
        folder, *COMMON, f"cache_dir={cache_dir}", f"hydra.run.dir={folder}", f"data.num_workers={num_workers}"
    )
    assert not (folder / "summary.json").exists()
    done = run(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert_same(uninterrupted, folder)
    epochs = [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]
    assert epochs == ["0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "num_workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 2)])
def test_resume__a_signal_to_the_whole_group_saves_and_continues_bit_equal(
    tmp_path: Path, cache_dir: Path, uninterrupted: Path, number: signal.Signals, num_workers: int
) -> None:
    """As Ctrl-C in a terminal, ``timeout`` and batch systems send it: to the loader processes too."""
    folder = tmp_path / "run"
    options = (f"cache_dir={cache_dir}", f"hydra.run.dir={folder}", "callbacks.checkpoint_steps=1")
    process = subprocess.Popen(
        command(*COMMON, *options, f"data.num_workers={num_workers}"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, start_new_session=True,
    )  # fmt: skip
    last = folder / "checkpoints/last.ckpt"
    while not last.is_file() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, number)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 128 + number, errors
    assert errors.count("stopping as soon as the state is saved") == 1
    assert "Traceback" not in errors
    assert f"resume={folder}" in output
    assert '"status": "interrupted"' in (folder / "summary.json").read_text()
    done = run(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert_same(uninterrupted, folder)
    again = run(f"resume={folder}")
    assert again.returncode == 2
    assert "that run is finished" in again.stderr


@pytest.mark.slow
def test_resume__of_two_processes_one_is_told_and_both_stop_and_go_on(tmp_path: Path, cache_dir: Path) -> None:
    """As a batch system tells the process that it started; the other one is in another step by then."""
    folder, whole = tmp_path / "run", tmp_path / "whole"
    options = (*COMMON, "trainer.devices=2", "data.batch_size=4", f"cache_dir={cache_dir}")
    process = subprocess.Popen(
        command(*options, f"hydra.run.dir={folder}"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    last = folder / "checkpoints/last.ckpt"
    while not last.is_file() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert output.count(f"resume={folder}") == 1
    assert '"status": "interrupted"' in (folder / "summary.json").read_text()
    done = run(f"resume={folder}")
    assert done.returncode == 0, done.stderr
    assert '"status": "finished"' in (folder / "summary.json").read_text()
    epochs = [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]
    assert epochs == ["0", "1", "2"]
    done = run(*options, f"hydra.run.dir={whole}")
    assert done.returncode == 0, done.stderr
    assert_same(whole, folder)
