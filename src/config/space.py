"""A study's search space against the training configuration it lies in: checked before anything heavy is imported."""

from collections.abc import Sequence
from typing import cast

from hydra import compose

from src.config.check import problems, to_dataclass
from src.config.schema.errors import ConfigError
from src.config.schema.root import TrainConfig
from src.config.schema.sweep import Space, corners, trial_overrides


def study_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """What a study's command line says of training, and what of the search."""
    search = [text for text in overrides if text.lstrip("+~").partition("=")[0].partition(".")[0] == "sweep"]
    return [text for text in overrides if text not in search], search


def space_problems(space: Space, base: Sequence[str]) -> list[str]:
    """What would go wrong in some trial: a key or choice that training does not have, an end outside its range.

    Every choice is composed with both ends of every range that goes with it.

    Args:
        space: passed its own checks.
        base: overrides of the training configuration.

    Returns:
        One line per problem, each with the parameter it comes from.
    """
    found: dict[str, None] = {}
    for values in corners(space):
        for line in problems("config", trial_overrides(base, space, values)):
            found[_blamed(line, {space[name].key: name for name in values})] = None
    return list(found)


def trial_config(overrides: Sequence[str]) -> TrainConfig:
    """The configuration of one trial, composed as ``src.train`` would.

    Raises:
        ConfigError: the values drawn do not go together.
    """
    if lines := problems("config", overrides):
        raise ConfigError("; ".join(lines))
    return cast("TrainConfig", to_dataclass(compose("config", list(overrides))))


def _blamed(line: str, names: dict[str, str]) -> str:
    """Begin with the parameter whose key the line begins with."""
    key = line.partition(":")[0].partition("=")[0]
    return f"sweep.space.{names[key]}: {line}" if key in names else line
