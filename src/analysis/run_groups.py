"""Which runs are repetitions of one another: their configurations, less what does not make a result."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from src.config.schema.errors import UserError
from src.config.schema.rules import nearest

Options = Mapping[str, Any]
"""A configuration by dotted key."""

REPETITION = ("seed",)
IMMATERIAL = (
    "name", "output_dir", "cache_dir", "resume", "logger", "callbacks.progress", "callbacks.checkpoint_steps",
    "data.num_workers", "data.eval_batch_size", "trainer.num_threads", "trainer.val_curve", "trainer.device", "report",
    "variants.logger",
)  # fmt: skip
"""Keys (with all below them) that name, watch or speed up a run and do not change what it learns."""


class GroupError(UserError):
    """Runs cannot be grouped as asked."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Runs sorted into groups.

    Attributes:
        labels: the group of each run, e.g. ``loss=asl, lr=0.001``.
        keys: what makes the groups.
        mixed: keys that differ within a group though they are not the seed; their effect is part of its spread.
    """

    labels: tuple[str, ...]
    keys: tuple[str, ...]
    mixed: tuple[str, ...]


def flatten_options(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key; lists become text.

    >>> flatten_options({"loss": {"gamma": 2.0}, "seed": 0})
    {'loss.gamma': 2.0, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten_options(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value) if isinstance(value, list) else value
    return flat


def differing_keys(runs: Sequence[Options]) -> list[str]:
    """Material keys whose value is not the same in every run, the seed left out, in the configuration's order."""
    keys = dict.fromkeys(key for options in runs for key in options)
    return [
        key
        for key in keys
        if not _below(key, (*IMMATERIAL, *REPETITION)) and len({repr(options.get(key)) for options in runs}) > 1
    ]


def group_runs(runs: Sequence[Options], *, by: Sequence[str] | None = None) -> Grouping:
    """Sort runs into groups of one configuration each.

    Args:
        runs: one configuration per run.
        by: keys whose values make the groups, a group of keys such as ``loss`` standing for its variant and all below
            it; None takes every material key that differs, so that a group differs in its seed alone.

    Raises:
        GroupError: ``by`` names a key that no run has, or one that is the same in all of them.
    """
    differing = differing_keys(runs)
    keys = differing if by is None else [key for name in by for key in _expand(name, runs, differing)]
    speaking = _speaking(keys, runs)
    names = _short_names(runs)
    labels = [_label(options, speaking, names) for options in runs]
    members: dict[str, list[Options]] = {}
    for options, label in zip(runs, labels, strict=True):
        members.setdefault(label, []).append(options)
    mixed = {key for group in members.values() for key in differing_keys(group)} - set(keys)
    return Grouping(tuple(labels), tuple(keys), tuple(key for key in differing if key in mixed))


def find_group(wish: str, labels: Sequence[str], names: Sequence[str]) -> str:
    """The label of a group by its label, a word of it (``asl`` of ``loss=asl``) or one of its runs.

    Args:
        wish: as typed.
        labels: group of each run.
        names: folder of each run.

    Raises:
        GroupError: none, or several, fit.
    """
    groups = list(dict.fromkeys(labels))
    ways = (
        {label for label in groups if label == wish},
        {label for label, name in zip(labels, names, strict=True) if name.rstrip("/") == wish.rstrip("/")},
        {label for label in groups if wish in label.replace(", ", "=").split("=")},
    )
    for found in ways:
        if len(found) == 1:
            return found.pop()
    near = nearest(wish, groups)
    hint = f"; did you mean {near}?" if near else ""
    raise GroupError(f"reference={wish}: names no group for certain{hint} (groups: {' | '.join(groups)}; or a run)")


def _below(key: str, roots: Sequence[str]) -> bool:
    return any(key == root or key.startswith(f"{root}.") for root in roots)


def _expand(name: str, runs: Sequence[Options], differing: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(key for options in runs for key in options))
    found = [key for key in known if _below(key, (name, f"variants.{name}"))]
    if not found:
        near = nearest(name, known)
        raise GroupError(f"by={name}: no run has such a key" + (f"; did you mean by={near}?" if near else ""))
    varied = [key for key in found if len({repr(options.get(key)) for options in runs}) > 1]
    if not varied:
        differ = ", ".join(differing) or "nothing but the seed"
        raise GroupError(f"by={name}: the same in every run; what differs: {differ}")
    return varied


def _speaking(keys: Sequence[str], runs: Sequence[Options]) -> list[str]:
    """Keys worth a place in a label, variants first: not those that follow from the variant, which says it already."""
    shown = []
    for key in keys:
        variant = f"variants.{key.partition('.')[0]}"
        kinds: dict[str, set[str]] = {}
        for options in runs:
            kinds.setdefault(str(options.get(variant)), set()).add(repr(options.get(key)))
        if variant not in keys or any(len(values) > 1 for values in kinds.values()):
            shown.append(key)
    return sorted(shown, key=lambda key: not key.startswith("variants."))


def _short_names(runs: Sequence[Options]) -> dict[str, str]:
    """The last part of a key where no other key ends in it: ``lr`` for ``optimizer.lr``."""
    keys = dict.fromkeys(key for options in runs for key in options if not key.startswith("variants."))
    count = Counter(key.rpartition(".")[2] for key in keys)
    return {key: leaf if count[leaf] == 1 else key for key in keys if (leaf := key.rpartition(".")[2])}


def _label(options: Options, keys: Sequence[str], names: Mapping[str, str]) -> str:
    parts = []
    for key in keys:
        group = key.removeprefix("variants.")
        if group != key:
            parts.append(f"{group}={str(options.get(key)).rpartition('/')[2]}")
        elif key in options or f"variants.{key.partition('.')[0]}" not in keys:
            parts.append(f"{names[key]}={options.get(key, 'none')}")
    return ", ".join(parts) or "all alike"
