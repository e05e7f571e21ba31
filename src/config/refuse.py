"""Telling the user what is wrong with a command line, and ending."""

import sys
from collections.abc import Sequence

from src.config.schema.errors import UserError


def refuse_for(error: UserError) -> None:
    """The error in a line or a few, and what has been noted beside it."""
    refuse(["\n".join([str(error), *getattr(error, "__notes__", [])])])


def refuse(lines: Sequence[str]) -> None:
    """Write one line per problem to stderr and exit with code 2; nothing where there is no problem."""
    if not lines:
        return
    for line in lines:
        sys.stderr.write("error: " + line.replace("\n", "\n       ") + "\n")
    sys.exit(2)
