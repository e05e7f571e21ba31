"""The error of this room."""

from src.config.schema.errors import UserError


class ModelError(UserError):
    """A network that cannot be built as asked, by a mistake the user can mend; shown as one line."""
