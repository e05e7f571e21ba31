"""Composing conf/ without Hydra, where its files have their plain shape: a tenth of the time, for answers to typos.

The plain shape is that of every file in conf/ today: a group's file names its schema and sets values; the primary
config lists groups; an experiment overrides groups and sets values. Anything else raises :class:`UnsureError`, and
Hydra composes.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, cast, get_args

import yaml

from src.config.names import CONF_DIR, root_schema
from src.config.schema.rules import MISSING
from src.config.schema.variants import SCHEMAS

EXPERIMENT = "experiment"
_GLOBAL = "# @package _global_"
_PLAIN_TYPES = (bool, int, float, str)


class UnsureError(Exception):
    """More than the plain shape; only Hydra knows what it means."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A configuration as far as it needs no Hydra: a schema for each section, and values for its fields."""

    root: type[Any]
    sections: dict[str, type[Any]]
    """Schema of each group and of each nested dataclass, in the order of the root's fields."""
    values: dict[str, dict[str, Any]]
    """By section, then by field, as far as they are not the schema's defaults; section '' is the root."""

    def keys(self) -> list[str]:
        """Dotted keys of all leaves, in the order in which Hydra's configuration has them."""
        found = []
        for field in fields(self.root):
            schema = self.sections.get(field.name)
            found += [f"{field.name}.{leaf.name}" for leaf in fields(schema)] if schema else [field.name]
        return found

    def field(self, key: str) -> Field[Any] | None:
        """The dataclass field of a dotted key, None where the chosen variants have none."""
        section, _, name = key.rpartition(".")
        schema = self.sections.get(section) if section else self.root
        found = {field.name: field for field in fields(schema)} if schema else {}
        return None if key in self.sections else found.get(name)

    def set(self, key: str, value: Any) -> None:
        """Give a field of a chosen variant its value."""
        section, _, name = key.rpartition(".")
        self.values.setdefault(section, {})[name] = value

    def missing(self) -> list[str]:
        """Keys that must be given and are not, sorted."""
        return sorted(key for key in self.keys() if self._value(key) == MISSING)

    def build(self) -> Any:
        """The dataclasses; their range checks run, inner ones first, as with OmegaConf."""
        values = dict(self.values.get("", {}))
        for section, schema in self.sections.items():
            values[section] = schema(**self.values.get(section, {}))
        return self.root(**values)

    def _value(self, key: str) -> Any:
        section, _, name = key.rpartition(".")
        default = cast("Field[Any]", self.field(key)).default
        return self.values.get(section, {}).get(name, default)


def compose_plainly(config_name: str, choices: Mapping[str, str]) -> Plain:
    """The configuration of an entry point with these groups chosen.

    Args:
        config_name: primary config in conf/.
        choices: choice of each group that the command line names, the experiment among them.

    Raises:
        UnsureError: some file is not of the plain shape.
    """
    root = root_schema(config_name)
    chosen, root_values = _primary(config_name)
    overridden, experiment_values = _experiment(choices[EXPERIMENT]) if EXPERIMENT in choices else ({}, {})
    given = {**overridden, **{group: name for group, name in choices.items() if group != EXPERIMENT}}
    if not given.keys() <= chosen.keys():
        raise UnsureError(f"{given.keys() - chosen.keys()} have no default")
    plain = Plain(root, _nested(root), {})
    files = {group: _group_file(group, name) for group, name in {**chosen, **given}.items()}
    for field in fields(root):
        if field.name in files:
            plain.sections[field.name] = files[field.name][0]
    for group, (_, values) in files.items():
        _assign(plain, {group: values})
    _assign(plain, root_values)
    _assign(plain, experiment_values)
    return plain


def plain_type(field: Field[Any]) -> tuple[type[Any], bool]:
    """bool, int, float or str, and whether null is allowed.

    Raises:
        UnsureError: any other type.
    """
    kinds = get_args(field.type) if isinstance(field.type, UnionType) else (field.type,)
    (kind, *others) = [kind for kind in kinds if kind is not type(None)]
    if others or kind not in _PLAIN_TYPES:
        raise UnsureError(f"{field.name} is not a plain field")
    return kind, type(None) in kinds


def primary_groups(config_name: str) -> list[str]:
    """Groups in the defaults list of an entry point, in its order."""
    return list(_primary(config_name)[0])


def _nested(root: type[Any]) -> dict[str, type[Any]]:
    """Sections of the root that are no groups."""
    return {
        field.name: field.type
        for field in fields(root)
        if isinstance(field.type, type) and is_dataclass(field.type) and field.default is not MISSING
    }


def _assign(plain: Plain, content: Mapping[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, dict) and key in plain.sections:
            for name, inner in value.items():
                _set_typed(plain, f"{key}.{name}", inner)
        else:
            _set_typed(plain, key, value)


def _set_typed(plain: Plain, key: str, value: Any) -> None:
    field = plain.field(key)
    if field is None:
        raise UnsureError(f"{key} is not in the schema")
    kind, optional = plain_type(field)
    widened = float(value) if kind is float and type(value) is int else value
    if type(widened) is not kind and not (value is None and optional):
        raise UnsureError(f"{key} needs a conversion")
    if isinstance(value, str) and ("${" in value or value == MISSING):
        raise UnsureError(f"{key} is not a plain value")
    plain.set(key, widened)


@cache
def _primary(config_name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Default choice of each group, and values."""
    content, _ = _load(CONF_DIR / f"{config_name}.yaml")
    first, *entries = content.pop("defaults", [None])
    content.pop("hydra", None)
    choices: dict[str, str] = {}
    own = [
        entry for entry in entries if not (isinstance(entry, dict) and next(iter(entry)).startswith("override hydra/"))
    ]
    if first != f"/schema/{_schema_path(config_name)}@_here_" or not own or own[-1] != "_self_":
        raise UnsureError(f"{config_name}.yaml")
    for entry in own[:-1]:
        group, name = _pair(entry)
        choices[group] = name
    return choices, content


@cache
def _group_file(group: str, name: str) -> tuple[type[Any], dict[str, Any]]:
    """Schema and values."""
    content, text = _load(CONF_DIR / group / f"{name}.yaml")
    schema, *rest = content.pop("defaults", [None])
    path = str(schema).removeprefix("/schema/").removesuffix("@_here_")
    plain = rest == ["_self_"] and schema == f"/schema/{path}@_here_" and path in SCHEMAS
    if not plain or "@package" in text:
        raise UnsureError(f"{group}/{name}.yaml")
    return SCHEMAS[path], content


@cache
def _experiment(name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Choices and values."""
    content, text = _load(CONF_DIR / EXPERIMENT / f"{name}.yaml")
    if not text.startswith(_GLOBAL + "\n") or text.count("@package") != 1:
        raise UnsureError(f"{EXPERIMENT}/{name}.yaml")
    choices = {}
    for entry in content.pop("defaults", None) or []:
        key, choice = _pair(entry)
        if not key.startswith("override /"):
            raise UnsureError(f"{EXPERIMENT}/{name}.yaml")
        choices[key.removeprefix("override /")] = choice
    return choices, content


def _pair(entry: Any) -> tuple[str, str]:
    """The one key and value of an entry of a defaults list."""
    if not isinstance(entry, dict) or len(entry) != 1:
        raise UnsureError(str(entry))
    ((key, value),) = entry.items()
    if not isinstance(key, str) or not isinstance(value, str) or not value.isidentifier():
        raise UnsureError(str(entry))
    return key, value


def _load(path: Path) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnsureError(str(path)) from error
    if not isinstance(content, dict):
        raise UnsureError(str(path))
    return content, text


def _schema_path(config_name: str) -> str:
    return {"config": "train"}.get(config_name, config_name)
