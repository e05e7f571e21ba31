"""Checkpoint files that survive a crash at any moment."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from src.config.schema.errors import UserError
from src.runfolder import replacing
from src.runhold import held_by


class CheckpointError(UserError):
    """A checkpoint that cannot be read or written."""


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs, renames; reads with ``weights_only=True``.

    Lightning's own goes through the system's temporary folder: across file systems its last step is a copy, and a full
    disk replaces the good checkpoint by a truncated one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint``; the previous file stays until the new one is complete on disk."""
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target, "wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # torch's zip writer hides a full disk behind a RuntimeError of its own
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise CheckpointError(
                f"{target}: cannot be written ({reason.strerror}); free space or choose output_dir="
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint, never executing pickled code.

        Raises:
            CheckpointError: missing, damaged, or holding more than plain data.
        """
        return load_checkpoint(Path(path), map_location=map_location)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint file."""
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path, *, map_location: Any | None = "cpu") -> dict[str, Any]:
    """Read a checkpoint as plain data.

    Raises:
        CheckpointError: missing, damaged, or holding more than plain data.
    """
    if not path.is_file():
        holder = held_by(path.parent.parent)
        why = f"{holder} is still in this run's first epoch" if holder else "the run ended before its first epoch did"
        raise CheckpointError(f"{path}: no such checkpoint; {why}")
    if not zipfile.is_zipfile(path):  # torch takes anything else for a pickle of old, and fails in many ways
        raise CheckpointError(f"{path}: damaged, or no checkpoint")
    try:
        content: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged checkpoint ({str(error).splitlines()[0]})") from error
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise CheckpointError(f"{path}: refused, it holds code rather than plain data") from error
    return content
