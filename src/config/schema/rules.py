"""Checks of configuration fields: every problem names its key, the value, and what to set instead."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from src.config.schema.errors import ConfigError

MISSING: Final[Any] = "???"
"""OmegaConf's mark of a key that must be given, written out: importing OmegaConf takes longer than all schemas."""

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Gather problems instead of raising at the first, so that the user sees all of them at once."""
    problems: list[str] = []
    token = _collected.set(problems)
    try:
        yield problems
    finally:
        _collected.reset(token)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name closest to ``word``, or None where nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """Report a ConfigError naming ``key`` unless ``condition`` holds.

    Args:
        condition: what must be true.
        key: dotted key as typed on the command line, e.g. ``loss.gamma``.
        value: the offending value.
        rule: what was expected, and what to set instead.

    Raises:
        ConfigError: at once, unless within :func:`collecting`, which gathers the message.
    """
    if condition:
        return
    message = f"{key}={value}: {rule}"
    problems = _collected.get()
    if problems is None:
        raise ConfigError(message)
    problems.append(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """As :func:`require`, for one of ``choices``; the nearest choice is named."""
    near = nearest(value, choices)
    hint = f"; did you mean {key}={near}?" if near else ""
    require(value in choices, key, value, f"must be one of {', '.join(choices)}{hint}")
