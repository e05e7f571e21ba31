"""A study: the training configuration, the space to search, and how the search is run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from src.config.schema.root import TrainConfig
from src.config.schema.rules import MISSING, require, require_choice

Values = Mapping[str, Any]
"""What a trial has drawn, by the parameter's name in the space."""


@dataclass(slots=True, kw_only=True)
class ParameterConfig:
    """One dimension of a search space; checked by the SweepConfig that holds it, which knows its name."""

    key: str = MISSING
    """Key of the training configuration (optimizer.lr) or one of its groups (loss)."""
    kind: str = "float"
    """float | int | choice."""
    low: float | None = None
    """Smallest value (float, int)."""
    high: float | None = None
    """Largest value, itself included (float, int)."""
    log: bool = False
    """Draw uniformly in the logarithm."""
    step: float | None = None
    """Distance between possible values, from low; null is continuous (float) or 1 (int)."""
    choices: list[Any] = field(default_factory=list)
    """Possible values (choice)."""
    when: dict[str, Any] = field(default_factory=dict)
    """Only where earlier choice parameters have these values (or one of a list), by key: {loss: focal}."""


Space = Mapping[str, ParameterConfig]
"""Parameters by name; a condition refers to one that stands before."""


@dataclass(slots=True, kw_only=True)
class SweepConfig:
    """How a space is searched."""

    name: str | None = None
    """Study, and its folder under outputs/studies/; null takes the training configuration's name."""
    trials: int = 20
    """Trials to end with, failed ones counted; the same command with more goes on, 0 only reports."""
    workers: int = 1
    """Processes that train at the same time on this machine; 0 trains in the command's own."""
    sampler: str = "tpe"
    """tpe (Bergstra et al., 2011) | random."""
    seed: int = 0
    """Seed of the sampler; what a trial draws also depends on the trials before it."""
    pruner: str = "median"
    """none | median | asha (Li et al., 2020) | hyperband (Li et al., 2018): which trials are stopped early."""
    warmup_epochs: int = 1
    """Epochs each trial may train before it can be pruned."""
    warmup_trials: int = 5
    """Complete trials before the median pruner prunes."""
    reduction: int = 3
    """One of this many trials survives a rung (asha, hyperband)."""
    storage: str | None = None
    """URL of a database for Optuna; null keeps a file in the study's folder, which is shared in either case."""
    stale_seconds: float = 120.0
    """A trial whose process on another machine shows no life for so long is picked up by another one."""
    retries: int = 3
    """How often a trial is picked up after its process died, and how often a dead worker is replaced."""
    parent: int = 0
    """Set by a study for its workers: the process they end with."""
    space: dict[str, ParameterConfig] = field(default_factory=dict)
    """Parameters by name; sweep.space.lr.high=0.01 changes one, ~sweep.space.lr leaves one out."""

    def __post_init__(self) -> None:
        require(self.trials >= 0, "sweep.trials", self.trials, "must be >= 1; 0 only reports")
        require(self.workers >= 0, "sweep.workers", self.workers, "must be >= 1; 0 trains in this process")
        require(self.seed >= 0, "sweep.seed", self.seed, "must be >= 0")
        require_choice("sweep.sampler", self.sampler, ("tpe", "random"))
        require_choice("sweep.pruner", self.pruner, ("none", "median", "asha", "hyperband"))
        require(self.warmup_epochs >= 0, "sweep.warmup_epochs", self.warmup_epochs, "must be >= 0")
        require(self.warmup_trials >= 1, "sweep.warmup_trials", self.warmup_trials, "must be >= 1")
        require(self.reduction >= 2, "sweep.reduction", self.reduction, "must be >= 2")
        require(self.stale_seconds >= 1, "sweep.stale_seconds", self.stale_seconds, "must be >= 1")
        require(self.retries >= 0, "sweep.retries", self.retries, "must be >= 0")
        plain = self.name is None or (bool(self.name) and all(c.isalnum() or c in "-_." for c in self.name))
        require(plain, "sweep.name", repr(self.name), "letters, digits, '-', '_' and '.' only: it names a folder")
        require(bool(self.space), "sweep.space", "{}", "nothing to search; take sweep=default")
        earlier: dict[str, ParameterConfig] = {}
        for name, parameter in self.space.items():
            _check_parameter(f"sweep.space.{name}", parameter, earlier)
            earlier[name] = parameter


@dataclass(slots=True, kw_only=True)
class StudyConfig(TrainConfig):
    """A training configuration and the space around it."""

    sweep: SweepConfig = MISSING
    """The search."""


def active_parameters(space: Space, values: Values) -> Iterator[tuple[str, ParameterConfig]]:
    """Parameters whose condition holds. ``values`` may be filled between two of them."""
    for name, parameter in space.items():
        if all(
            any(values[other] in _listed(wanted) for other in space if other in values and space[other].key == key)
            for key, wanted in parameter.when.items()
        ):
            yield name, parameter


def trial_overrides(base: Sequence[str], space: Space, values: Values) -> list[str]:
    """The command line of a trial: ``base`` with the values drawn put in the place of what it says of the same keys."""
    drawn = {space[name].key: _typed(space[name], value) for name, value in values.items()}
    kept = [text for text in base if text.lstrip("+").partition("=")[0] not in drawn]
    return [*kept, *(f"{key}={text}" for key, text in drawn.items())]


def corners(space: Space) -> Iterator[dict[str, Any]]:
    """Few trials that hold every choice and both ends of every range, those of conditional ranges with each choice."""
    rounds = max(2, *(len(parameter.choices) for parameter in space.values()))
    for turn in range(rounds):
        values = _corner(space, turn, upper=turn % 2 == 1)
        yield values
        if any(space[name].when and space[name].kind != "choice" for name in values):
            yield _corner(space, turn, upper=turn % 2 == 0)


def _corner(space: Space, turn: int, *, upper: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, parameter in active_parameters(space, values):
        if parameter.choices:
            values[name] = parameter.choices[turn % len(parameter.choices)]
        else:
            end = parameter.high if upper else parameter.low
            values[name] = end if parameter.kind == "float" or end is None else int(end)
    return values


def _check_parameter(name: str, parameter: ParameterConfig, earlier: Space) -> None:
    require_choice(f"{name}.kind", parameter.kind, ("float", "int", "choice"))
    if parameter.kind == "choice":
        require(bool(parameter.choices), f"{name}.choices", "[]", "must list values")
        plain = all(isinstance(value, str | int | float | bool | None) for value in parameter.choices)
        require(plain, f"{name}.choices", parameter.choices, "must be texts, numbers, true, false or null")
        ranged = [key for key in ("low", "high", "step") if getattr(parameter, key) is not None]
        require(not ranged, f"{name}.{(ranged or ['low'])[0]}", "…", "belongs to kind=float or int")
    elif parameter.kind in ("float", "int"):
        _check_range(name, parameter)
    for key, wanted in parameter.when.items():
        known = [value for other in earlier.values() if other.key == key for value in other.choices]
        before = sorted({other.key for other in earlier.values() if other.choices})
        require(bool(known), f"{name}.when", key, f"must be the key of a choice parameter before it ({before})")
        strange = [value for value in _listed(wanted) if known and value not in known]
        require(not strange, f"{name}.when", f"{key}: {strange}", f"is not among the choices {known}")
    for other, found in earlier.items():
        apart = found.key != parameter.key or _exclude_each_other(found, parameter)
        require(apart, f"{name}.key", parameter.key, f"sweep.space.{other} has it too; give both a 'when' apart")


def _check_range(name: str, parameter: ParameterConfig) -> None:
    low, high, step = parameter.low, parameter.high, parameter.step
    require(not parameter.choices, f"{name}.choices", parameter.choices, "belongs to kind=choice")
    if low is None or high is None:
        require(False, f"{name}.{'low' if low is None else 'high'}", None, f"kind={parameter.kind} needs low and high")
        return
    require(low < high, f"{name}.low", low, f"must be < high ({high})")
    require(low > 0 or not parameter.log, f"{name}.low", low, "must be > 0 with log=true")
    if step is not None:
        require(not parameter.log, f"{name}.step", step, "does not go with log=true")
        require(0 < step <= high - low or low >= high, f"{name}.step", step, f"must lie in (0, {high - low}]")
    if parameter.kind == "int":
        for key in ("low", "high", "step"):
            value = getattr(parameter, key)
            require(value is None or value == int(value), f"{name}.{key}", value, "must be a whole number (kind=int)")


def _exclude_each_other(one: ParameterConfig, other: ParameterConfig) -> bool:
    shared = one.when.keys() & other.when.keys()
    return any(not {*_listed(one.when[key])} & {*_listed(other.when[key])} for key in shared)


def _listed(wanted: Any) -> list[Any]:
    return list(wanted) if isinstance(wanted, list | tuple) else [wanted]


def _typed(parameter: ParameterConfig, value: Any) -> str:
    """As on Hydra's command line; five digits of a float, so that the command can be read, copied and is exact."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and not parameter.choices:
        short = f"{value:.5g}"
        inside = parameter.low is None or parameter.high is None or parameter.low <= float(short) <= parameter.high
        return short if inside else repr(value)
    if isinstance(value, str) and not (value and all(c.isalnum() or c in "-_./" for c in value)):
        return "'" + value.replace("\\", "\\\\").replace("'", r"\'") + "'"
    return str(value)
