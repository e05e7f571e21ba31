"""Problems with the data that the user can mend."""

from pathlib import Path

from src.config.schema.errors import UserError


class DataError(UserError):
    """A data problem; the message is one line or a few, and says what to do."""


class ImageError(DataError):
    """One image that cannot be used.

    Attributes:
        path: the file.
        reason: what is wrong with it, without the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def stopping(self) -> "ImageError":
        """The same, where it ends the work, with the way past it."""
        return ImageError(self.path, f"{self.reason}; data.on_error=skip leaves broken images out")

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path, str]]:
        """Loader workers send exceptions to the main process by pickle."""
        return type(self), (self.path, self.reason)
