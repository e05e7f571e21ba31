"""Checkpoint files: whatever fails, the old file stays; what is no plain data is not read."""

import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from src.callbacks import checkpoint_io
from src.callbacks.checkpoint_io import AtomicCheckpointIO, CheckpointError, load_checkpoint
from src.config.schema.errors import UserError

OLD = {"weights": torch.arange(10.0), "epoch": 3}


def save_on_a_full_disk(path: Path, answer: Connection) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # writes past the limit then fail with EFBIG
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        AtomicCheckpointIO().save_checkpoint({"weights": torch.ones(1_000_000)}, path)
    except CheckpointError as error:
        answer.send(str(error))
    finally:
        answer.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, target)
    return target


def assert_old(path: Path) -> None:
    content = load_checkpoint(path)
    assert content["epoch"] == 3
    assert torch.equal(content["weights"], OLD["weights"])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_save__replaces_and_leaves_nothing_beside(path: Path) -> None:
    assert_old(path)
    AtomicCheckpointIO().save_checkpoint({"epoch": 4}, path)
    assert load_checkpoint(path) == {"epoch": 4}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), TypeError("no pickle")])
def test_save__failure_in_mid_file_keeps_the_old_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def half_a_file(content: Any, file: Any) -> None:
        file.write(b"half")
        file.flush()
        raise error

    monkeypatch.setattr(checkpoint_io.torch, "save", half_a_file)
    with pytest.raises(CheckpointError if isinstance(error, OSError) else type(error)):
        AtomicCheckpointIO().save_checkpoint({"epoch": 4}, path)
    assert_old(path)


def test_save__bug_in_torch_is_not_taken_for_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(content: Any, file: Any) -> None:
        raise RuntimeError("internal")

    monkeypatch.setattr(checkpoint_io.torch, "save", broken)
    with pytest.raises(RuntimeError, match="internal"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 4}, path)
    assert_old(path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and RLIMIT_FSIZE")
def test_save__full_disk_keeps_the_old_file_and_says_so(path: Path) -> None:
    """torch's zip writer reports a full disk as a RuntimeError."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=save_on_a_full_disk, args=(path, sender))
    process.start()
    sender.close()
    assert receiver.recv() == f"{path}: cannot be written (File too large); free space or choose output_dir="
    process.join()
    assert_old(path)


def test_save__unwritable_folder_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    target = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.raises(CheckpointError) as caught:
        AtomicCheckpointIO().save_checkpoint(OLD, target)
    assert str(caught.value).startswith(f"{target}: cannot be written (")
    assert isinstance(caught.value, UserError)


class Code:
    """Pickled as a call."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def test_load__code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "evil.ckpt", tmp_path / "was_run"
    torch.save({"state_dict": {}, "hyper_parameters": Code(f"touch {witness}")}, path)
    with pytest.raises(CheckpointError, match=r"evil\.ckpt: refused, it holds code rather than plain data"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not witness.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[: len(good) // 2],
        lambda good: b"",
        lambda good: b"hello world" * 100,
        lambda good: good[:64] + b"\xff" * 128 + good[192:],
    ],
    ids=["truncated", "empty", "no checkpoint", "overwritten"],
)
def test_load__damaged_file_is_named(path: Path, damage: Any) -> None:
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_load__missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint"):
        load_checkpoint(tmp_path / "best.ckpt")


def test_remove__file_may_be_gone_already(path: Path) -> None:
    for _ in range(2):
        AtomicCheckpointIO().remove_checkpoint(path)
        assert not path.exists()
