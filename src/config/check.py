"""Checks a command line before anything heavy is imported: all problems at once, each with the nearest valid name."""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.names import CONF_DIR, Rejected, explain, key_hint, told, unknown_key
from src.config.schema.rules import collecting


def problems(config_name: str, overrides: Sequence[str], *, multirun: bool = False) -> list[str]:
    """All that is wrong with a command line.

    Args:
        config_name: primary config in conf/.
        overrides: Hydra overrides as typed.
        multirun: expand sweeps, and check every job.

    Returns:
        One line per problem; empty where every job composes and passes its range checks.
    """
    unparsable = [line for text in overrides if (line := _parse_problem(text))]
    if unparsable:
        return unparsable
    if config_name == "config" and (search := [text for text in overrides if re.match(r"[+~]*sweep[.=]", text)]):
        return [f"{text}: belongs to python -m src.sweep" for text in search]
    found: dict[str, None] = {}
    with _hydra():
        for job in job_overrides(overrides) if multirun else [list(overrides)]:
            found |= dict.fromkeys(_job_problems(config_name, job, multirun, allow_missing=False)[1])
    return list(found)


def job_overrides(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a multirun, in the order of the jobs' numbers."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return BasicSweeper.split_arguments(parsed, None)[0]


def composed(config_name: str, overrides: Sequence[str]) -> tuple[DictConfig, list[str]]:
    """The configuration of one job without the overrides that are wrong, and what is wrong with them.

    Keys that must be given may be missing.
    """
    if unparsable := [line for text in overrides if (line := _parse_problem(text))]:
        return DictConfig({}), unparsable
    with _hydra():
        return _job_problems(config_name, list(overrides), multirun=False, allow_missing=True)


def _hydra() -> AbstractContextManager[None]:
    """Hydra to compose with: the running command's, since there can be only one."""
    running = GlobalHydra.instance().is_initialized()
    return nullcontext() if running else initialize_config_dir(str(CONF_DIR), version_base="1.3")


def flatten(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, DictConfig, str]]:
    """Leaves of a composed config as (dotted key, parent node, name)."""
    for name in map(str, node):
        child = node._get_node(name)
        key = f"{prefix}{name}"
        if isinstance(child, DictConfig) and not child._is_missing() and not child._is_none():
            yield from flatten(child, f"{key}.")
        else:
            yield key, node, str(name)


def _parse_problem(text: str) -> str | None:
    if "=" not in text and not text.startswith("~"):
        return f"{text}: cannot be read as key=value, for it has no ="
    try:
        override = OverridesParser.create().parse_overrides([text])[0]
    except HydraException as error:
        reason = str(error).splitlines()
        detail = next((line for line in reason if not line.startswith(("See ", "Error parsing"))), reason[0])
        return f"{text}: cannot be read as key=value ({detail}); quote values that hold spaces, brackets or commas"
    if override.is_sweep_override() and not override.is_discrete_sweep():
        return f"{text}: only lists of values can be swept; write {override.get_key_element()}=A,B,C"
    return None


def _job_problems(
    config_name: str, overrides: list[str], multirun: bool, allow_missing: bool
) -> tuple[DictConfig, list[str]]:
    rejected = [Rejected(text, key, "key") for text in overrides if (key := unknown_key(config_name, text))]
    kept = [text for text in overrides if text not in {item.override for item in rejected}]
    while True:
        try:
            config = compose(config_name, kept)
            break
        except (HydraException, OmegaConfBaseException) as error:
            culprit = _blame(error, kept)
            if culprit is None:
                return DictConfig({}), [str(error).splitlines()[0]]
            kept.remove(culprit.override)
            rejected.append(culprit)
    failed_groups = {item.key for item in rejected if item.kind == "group"}
    known = [key for key, _, _ in flatten(config)]
    lines = [explain(item, known, multirun) for item in told(rejected, failed_groups)]
    others = _unknown_additions(config) or _range_problems(config, allow_missing or bool(failed_groups))
    return config, lines + [line for line in others if re.split(r"[.:=]", line)[0] not in failed_groups]


def _blame(error: Exception, overrides: Sequence[str]) -> Rejected | None:
    """Which override an exception of Hydra's is about."""
    text, cause = str(error), str(error.__cause__ or "")
    by_key = {override.lstrip("+~").partition("=")[0].partition("@")[0]: override for override in reversed(overrides)}
    if match := re.search(r"Ambiguous value for argument '([^=]+)=", text):
        kind = "value"
    elif isinstance(error, MissingConfigException):
        match = re.search(r"Could not find '([^']+)/[^'/]+'", text)
        kind = "group"
    elif match := re.search(r"Error merging override (?:\+{0,2}|~)([^=]+)=", text):
        kind = "value"
    else:
        match = re.search(r"Could not (?:override|append|delete)[^']*'([^']+)'", text)
        kind = "key"
    key = match.group(1).lstrip("+~").partition("@")[0] if match else ""
    if key not in by_key:
        return None
    return Rejected(by_key[key], key, kind, cause.splitlines()[0] if cause else text.splitlines()[0])


def _unknown_additions(config: DictConfig) -> list[str]:
    """Keys that ``+key=value`` put where the schema has none."""
    leaves = list(flatten(config))
    known = [key for key, parent, name in leaves if name in _schema_fields(parent)]
    added = [key for key, parent, name in leaves if name not in _schema_fields(parent)]
    return [f"{key}: no such key{key_hint(key, known)}" for key in added]


def _schema_fields(node: DictConfig) -> set[str]:
    schema = OmegaConf.get_type(node)
    return {field.name for field in fields(schema)} if is_dataclass(schema) else set(map(str, node))


def _range_problems(config: DictConfig, allow_missing: bool) -> list[str]:
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        return [] if allow_missing else [f"{key}: must be given; add {key}=VALUE" for key in missing]
    with collecting() as found:
        to_dataclass(config)
    return found


def to_dataclass(config: DictConfig) -> Any:
    """The composed config as plain dataclasses; their range checks run here."""
    return OmegaConf.to_object(config)
