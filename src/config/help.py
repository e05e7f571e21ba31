"""``--help``: groups, choices and every key with its default and its docstring, without importing torch."""

import ast
import inspect
import sys
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from omegaconf import DictConfig, OmegaConf

from src.config.check import flatten
from src.config.names import groups
from src.config.schema.variants import SCHEMAS


def help_text(config_name: str, config: DictConfig, *, usage: str) -> str:
    """The help page of an entry point.

    Args:
        config_name: primary config in conf/.
        config: as ``check.composed`` gives it; its values are shown.
        usage: first lines, with examples.
    """
    lines = [usage.strip(), ""]
    variants = set(SCHEMAS.values())
    chosen = [name for name in groups() if name in config and OmegaConf.get_type(config[name]) in variants]
    chosen += ["experiment"] if config_name == "config" else []
    if chosen:
        lines.append("Groups (group=choice):")
        lines += [
            f"  {'+' if group == 'experiment' else ' '}{group:<11} {' | '.join(groups()[group])}" for group in chosen
        ]
        lines.append("")
    lines.append("Keys (key=value), as composed:")
    for key, parent, name in flatten(config):
        schema = OmegaConf.get_type(parent)
        value = "???" if OmegaConf.is_missing(parent, name) else parent[name]
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        doc = attribute_docs(schema).get(name, "") if isinstance(schema, type) else ""
        lines.append(f"  {f'{key}={shown}':<40} {doc}")
    lines += ["", "--cfg job prints the composed configuration, -m sweeps over comma-separated values."]
    return "\n".join(lines)


def attribute_docs(schema: type) -> dict[str, str]:
    """First line of each attribute docstring of a dataclass, its bases included."""
    docs: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if base.__module__.startswith("src."):
            docs |= _string_after_field(_classes(base.__module__)[base.__name__])
    return docs


@cache
def _classes(module: str) -> dict[str, list[ast.stmt]]:
    """Bodies of a module's classes; the whole file is parsed once instead of for each class of it."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}


def _string_after_field(body: Sequence[ast.stmt]) -> dict[str, str]:
    docs = {}
    for field, doc in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
            value = doc.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[field.target.id] = " ".join(value.value.split())
    return docs
