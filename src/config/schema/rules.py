"""Range checks for configuration fields: every problem names its key, the value, and what to set instead."""

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A mistake in the configuration that the user can mend; shown as one line, without a stack trace."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name closest to ``word``, or None where nothing is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def require(condition: bool, key: str, value: object, rule: str) -> None:
    """Raise ConfigError naming ``key`` unless ``condition`` holds.

    Args:
        condition: what must be true.
        key: dotted key as typed on the command line, e.g. ``loss.gamma``.
        value: the offending value.
        rule: what was expected, and what to set instead.
    """
    if not condition:
        raise ConfigError(f"{key}={value}: {rule}")


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ConfigError unless ``value`` is one of ``choices``; the nearest choice is named."""
    if value not in choices:
        near = nearest(value, choices)
        hint = f"; did you mean {key}={near}?" if near else ""
        raise ConfigError(f"{key}={value}: must be one of {', '.join(choices)}{hint}")
