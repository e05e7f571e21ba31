"""The error of this room."""


class ModelError(ValueError):
    """A network that cannot be built as asked, by a mistake the user can mend; shown as one line."""
