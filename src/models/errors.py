"""The error of this room."""

from pathlib import Path

from src.config.schema.errors import UserError


class ModelError(UserError):
    """A network that cannot be built as asked, by a mistake the user can mend; shown as one line."""


def missing_weights(path: Path) -> ModelError:
    """What to raise where ``model.weights`` names no file; said before torch is loaded, and by the loading itself."""
    return ModelError(f"model.weights={path}: no such file; set a path, imagenet or null")
