"""The names that a command line may hold, and how a wrong one is answered. Imports neither Hydra nor OmegaConf."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from src.config.schema.rules import nearest
from src.config.schema.variants import SCHEMAS

_PACKAGE = Path(__file__).resolve().parents[1]
CONF_DIR = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""Inside the package in a wheel, beside it in a checkout."""

SEVERAL = 3
"""Keys that a hint names at most."""
_TYPES = {"Float": "a number", "Integer": "a whole number", "bool": "true or false", "String": "a text"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """An override that Hydra refused, with the reason as we would say it."""

    override: str
    key: str
    kind: str
    """group (unknown choice) | key (unknown name) | value (wrong type) | other."""
    reason: str = ""


@cache
def groups() -> dict[str, list[str]]:
    """Config groups and their choices, as they stand in conf/."""
    folders = sorted(path for path in CONF_DIR.iterdir() if path.is_dir())
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def unknown_key(config_name: str, override: str) -> str | None:
    """The key of an override that no variant of any group has: Hydra would have to compose everything to find it."""
    key = override.partition("=")[0]
    if not re.fullmatch(r"[a-z]\w*(\.\w+)*", key) or key.startswith("hydra.") or key in groups():
        return None
    known = every_key(config_name)
    within_or_around = (name for name in known if key.startswith(f"{name}.") or name.startswith(f"{key}."))
    return None if key in known or any(within_or_around) else key


def root_schema(config_name: str) -> type[Any]:
    """The dataclass of a primary config."""
    return SCHEMAS[{"config": "train", "sweep": "study"}.get(config_name, config_name)]


@cache
def every_key(config_name: str) -> frozenset[str]:
    """Keys of an entry point's configuration, whichever variants are chosen."""
    root = root_schema(config_name)
    keys = {field.name for field in fields(root)}
    for node in fields(root):
        variants = [schema for path, schema in SCHEMAS.items() if path.partition("/")[0] == node.name]
        if isinstance(node.type, type) and is_dataclass(node.type):
            variants.append(node.type)
        keys |= {f"{node.name}.{field.name}" for schema in variants for field in fields(schema)}
        keys -= {node.name} if variants else set()
    return frozenset(keys)


def told(rejected: Sequence[Rejected], failed_groups: Collection[str]) -> list[Rejected]:
    """Without keys below a group whose choice is unknown: they cannot be judged."""
    return [item for item in rejected if item.kind == "group" or item.key.partition(".")[0] not in failed_groups]


def explain(item: Rejected, known: Sequence[str], multirun: bool) -> str:
    """One line on a rejected override.

    Args:
        item: what was rejected, and why.
        known: keys of the configuration without it.
        multirun: whether lists of values were allowed.
    """
    value = item.override.partition("=")[2]
    if item.kind == "group":
        choices = groups().get(item.key, [])
        return _with_hint(f"{item.override}: no such choice", value, choices, item.override.partition("=")[0])
    if item.kind == "value":
        if "," in value and value[0] not in "[{" and not multirun:
            return f"{item.override}: several values are a sweep; add -m"
        match = re.search(r"could not be converted to (\w+)|is not a valid (\w+)", item.reason)
        kind = match and (match.group(1) or match.group(2))
        expected = f"must be {_TYPES.get(kind, kind)}" if kind else item.reason
        return f"{item.key}={value}: {expected}"
    if item.key in groups():
        return f"{item.override}: a group that has no default; write +{item.key}={value}"
    if item.key in known:
        return f"{item.override}: {item.key} is there already; write it without +"
    return f"{item.key}: no such key{key_hint(item.key, known)}"


def _with_hint(message: str, word: str, choices: Sequence[str], typed: str) -> str:
    near = nearest(word, choices)
    hint = f"; did you mean {typed}={near}?" if near else ""
    return f"{message}{hint} ({' | '.join(choices)})"


def key_hint(key: str, known: Sequence[str]) -> str:
    """The nearest key, or where to look for one."""
    leaf = key.rpartition(".")[2]
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    siblings = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    group = nearest(key, list(groups())) if "." not in key else None
    elsewhere = _other_variants(key)
    if key in elsewhere:
        return f" with this choice; it belongs to {elsewhere[key]}"
    within = same_leaf or _with_word(leaf, known)
    if within := [name for name in within if name in siblings] or within:
        return f"; did you mean {' or '.join(within[:SEVERAL])}?"
    near = nearest(key, [*siblings, *elsewhere]) or group or nearest(key, known)
    if near in elsewhere and near not in siblings:
        return f"; did you mean {near}? It belongs to {elsewhere[near]}"
    if near:
        return f"; did you mean {near}?"
    return f"; known here: {', '.join(siblings)}" if siblings else "; --help lists every key"


def _with_word(word: str, known: Sequence[str]) -> list[str]:
    """Keys that end with it: ``epochs`` of ``trainer.max_epochs``; none where too many do."""
    found = sorted(name for name in known if word == name.rpartition("_")[2])
    return found if len(found) <= SEVERAL else []


def _other_variants(key: str) -> dict[str, str]:
    """Keys of the other variants of a group, e.g. ``loss.gamma`` of ``loss=focal``, with the choice that has them."""
    group = key.partition(".")[0]
    found: dict[str, list[str]] = {}
    for path, schema in SCHEMAS.items():
        if path.startswith(f"{group}/"):
            for field in fields(schema):
                found.setdefault(f"{group}.{field.name}", []).extend(_choices_of(path))
    return {name: f"{group}={' | '.join(choices)}" for name, choices in found.items()}


@cache
def _choices_of(path: str) -> list[str]:
    """Choices of a group whose file names this schema."""
    group = path.partition("/")[0]
    files = {name: (CONF_DIR / group / f"{name}.yaml").read_text(encoding="utf-8") for name in groups().get(group, [])}
    return [name for name, text in files.items() if f"/schema/{path}@_here_" in text]
