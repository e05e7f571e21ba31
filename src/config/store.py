"""Registers every configuration dataclass with Hydra, so that the YAML files in conf/ are typed."""

from hydra.core.config_store import ConfigStore

from src.config.schema.variants import SCHEMAS


def register() -> None:
    """Store every schema as ``schema/<group>/<variant>``; the YAML files name theirs in the defaults list."""
    store = ConfigStore.instance()
    for path, schema in SCHEMAS.items():
        group, _, name = f"schema/{path}".rpartition("/")
        store.store(group=group, name=name, node=schema)
