"""Telling the user what is wrong with a command line, and ending."""

import sys
from collections.abc import Sequence


def refuse(lines: Sequence[str]) -> None:
    """Write one line per problem to stderr and exit with code 2; nothing where there is no problem."""
    if not lines:
        return
    for line in lines:
        sys.stderr.write("error: " + line.replace("\n", "\n       ") + "\n")
    sys.exit(2)
