"""The answer to a mistyped command line before Hydra is imported: the same lines, in a third of the time.

Only command lines that are plain through and through are judged: ``key=value``, ``group=choice``, ``+experiment=name``
and comma-separated lists of these. Everything else, and every doubt, is left to :mod:`src.config.check`, which asks
Hydra.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from src.config.names import Rejected, explain, groups, told, unknown_key
from src.config.plain import EXPERIMENT, Plain, UnsureError, compose_plainly, plain_type, primary_groups
from src.config.schema.rules import collecting

_OVERRIDE = re.compile(r"(\+?)([a-z]\w*(?:\.\w+)*)=(.+)", re.ASCII)
_WHOLE = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
_FLOAT = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_WORD = re.compile(r"/?[A-Za-z_](?:[\w./-]*\w)?", re.ASCII)
_MEANINGFUL = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"})
_MOST_JOBS = 64
_REASONS = {
    float: "could not be converted to Float",
    int: "could not be converted to Integer",
    bool: "is not a valid bool",
}


@dataclass(frozen=True, slots=True)
class Word:
    """An override in its plain form."""

    text: str
    key: str
    value: str
    added: bool
    """Whether it began with a plus."""


def quick_problems(config_name: str, overrides: Sequence[str], *, multirun: bool = False) -> list[str] | None:
    """What :func:`src.config.check.problems` would say, or None where that cannot be told without Hydra.

    Args:
        config_name: primary config in conf/.
        overrides: Hydra overrides as typed.
        multirun: expand sweeps, and check every job.
    """
    try:
        words = [_read(text) for text in overrides]
        if len({word.key for word in words}) < len(words):
            raise UnsureError("a key is given twice")
        found: dict[str, None] = {}
        for job in _jobs(words) if multirun else [words]:
            found |= dict.fromkeys(_job_problems(config_name, job, multirun))
        return list(found)
    except UnsureError:
        return None


def _read(text: str) -> Word:
    match = _OVERRIDE.fullmatch(text)
    if match is None:
        raise UnsureError(text)
    plus, key, value = match.groups()
    if (plus and key != EXPERIMENT) or key.partition(".")[0] in ("hydra", "sweep"):
        raise UnsureError(text)
    for part in value.split(","):
        _plain_value(part)
    return Word(text, key, value, bool(plus))


def _plain_value(text: str) -> Any:
    """What Hydra's grammar makes of a plain value."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    if not _WORD.fullmatch(text) or text.lower() in _MEANINGFUL:
        raise UnsureError(text)
    return text


def _jobs(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Every combination, the last list changing fastest."""
    lists = [word.value.split(",") for word in words]
    if prod(map(len, lists)) > _MOST_JOBS:
        raise UnsureError("a large sweep")
    for values in product(*lists):
        yield [_with_value(word, value) for word, value in zip(words, values, strict=True)]


def _with_value(word: Word, value: str) -> Word:
    """As the sweeper hands it on: numbers are written anew."""
    typed = _plain_value(value)
    written = str(typed) if isinstance(typed, float) else value
    return Word(f"{'+' if word.added else ''}{word.key}={written}", word.key, written, word.added)


def _job_problems(config_name: str, words: Sequence[Word], multirun: bool) -> list[str]:
    strange = [word for word in words if unknown_key(config_name, word.text)]
    rejected = [Rejected(word.text, word.key, "key") for word in strange]
    lists = [word for word in words if word not in strange and "," in word.value]
    if any(word.added for word in lists):
        raise UnsureError("a list of experiments that is no sweep")
    rejected += [Rejected(word.text, word.key, "value") for word in lists]
    kept = [word for word in words if word not in strange and word not in lists]
    chosen = [word for word in kept if word.key in groups()]
    wrong, choices = _check_choices(config_name, chosen)
    rejected += wrong
    plain = compose_plainly(config_name, choices)
    rejected += [item for word in kept if word not in chosen if (item := _give(plain, word))]
    failed_groups = {item.key for item in rejected if item.kind == "group"}
    known = plain.keys()
    lines = [explain(item, known, multirun) for item in told(rejected, failed_groups)]
    others = _range_problems(plain, allow_missing=bool(failed_groups))
    return lines + [line for line in others if re.split(r"[.:=]", line)[0] not in failed_groups]


def _check_choices(config_name: str, words: Sequence[Word]) -> tuple[list[Rejected], dict[str, str]]:
    """Wrong choices in the order in which Hydra meets them (it reads the defaults list backwards), and the others."""
    defaults = primary_groups(config_name)
    if any(not word.value.isidentifier() or _plain_value(word.value) != word.value for word in words):
        raise UnsureError("not the name of a choice")
    homeless = [word for word in words if word.key not in defaults and not word.added]
    usable = [word for word in words if word not in homeless]
    usable.sort(key=lambda word: -1 if word.added else len(defaults) - defaults.index(word.key))
    unknown = [word for word in usable if word.value not in groups()[word.key]]
    wrong = [Rejected(word.text, word.key, "group") for word in unknown]
    wrong += [Rejected(word.text, word.key, "key") for word in homeless]
    return wrong, {word.key: word.value for word in usable if word not in unknown}


def _give(plain: Plain, word: Word) -> Rejected | None:
    """Set a value, or say why Hydra would not."""
    if word.key in plain.sections:
        raise UnsureError(word.text)
    field = plain.field(word.key)
    if field is None:
        if word.key.count(".") > 1 or word.key.partition(".")[0] not in plain.sections:
            raise UnsureError(word.text)
        return Rejected(word.text, word.key, "key")
    (kind, optional), value = plain_type(field), _plain_value(word.value)
    if type(value) is kind or (value is None and optional):
        plain.set(word.key, value)
        return None
    if kind is float and type(value) is int:
        plain.set(word.key, float(value))
        return None
    if (isinstance(value, str) and kind is not str) or (type(value) is float and kind is int):
        return Rejected(word.text, word.key, "value", _REASONS[kind])
    raise UnsureError(word.text)


def _range_problems(plain: Plain, *, allow_missing: bool) -> list[str]:
    if missing := plain.missing():
        return [] if allow_missing else [f"{key}: must be given; add {key}=VALUE" for key in missing]
    with collecting() as found:
        plain.build()
    return found
