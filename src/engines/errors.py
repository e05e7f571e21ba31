"""The error of this room, and packages that are imported only where an engine asks for them."""

import importlib
from typing import Any

from src.config.schema.errors import UserError


class EngineError(UserError):
    """An engine or an exported graph that cannot be had as asked, by something the user can mend."""


def needed(package: str, *, by: str, extra: str) -> Any:
    """Import an optional package.

    Args:
        package: module name.
        by: what asked for it, as typed on the command line.
        extra: the project's extra that installs it.

    Raises:
        EngineError: not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise EngineError(f"{by}: needs {error.name}; pip install '.[{extra}]'") from error
