"""``--help``: groups, choices and every key with its default and its docstring, without importing torch."""

import ast
import inspect
import textwrap
from collections.abc import Sequence
from itertools import pairwise

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.config.check import CONF_DIR, flatten, groups
from src.config.schema.variants import SCHEMAS


def help_text(config_name: str, overrides: Sequence[str], *, usage: str) -> str:
    """The help page of an entry point.

    Args:
        config_name: primary config in conf/.
        overrides: shown as composed with these, e.g. ``loss=focal``.
        usage: first lines, with examples.
    """
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose(config_name, list(overrides))
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
        doc = attribute_docs(schema).get(name, "") if inspect.isclass(schema) else ""
        lines.append(f"  {f'{key}={shown}':<40} {doc}")
    lines += ["", "--cfg job prints the composed configuration, -m sweeps over comma-separated values."]
    return "\n".join(lines)


def attribute_docs(schema: type) -> dict[str, str]:
    """First line of each attribute docstring of a dataclass, its bases included."""
    docs: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if base.__module__.startswith("src."):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
            docs |= _string_after_field(body.body) if isinstance(body, ast.ClassDef) else {}
    return docs


def _string_after_field(body: Sequence[ast.stmt]) -> dict[str, str]:
    docs = {}
    for field, doc in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
            value = doc.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[field.target.id] = " ".join(value.value.split())
    return docs
