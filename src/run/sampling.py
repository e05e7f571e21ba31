"""What Optuna is asked for: the values of a trial, the sampler that draws them, the pruner that gives trials up."""

from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from src.config.schema.sweep import ParameterConfig, Space, SweepConfig, active_parameters

_DRAWS = 1_000_003
"""Distance between the seeds of two studies, larger than any number of trials."""


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """Values of the parameters whose condition holds; those that the trial has already stay as they are."""
    values: dict[str, Any] = {}
    for name, parameter in active_parameters(space, values):
        values[name] = _draw(trial, name, parameter)
    return values


def build_sampler(sweep: SweepConfig, *, trials: int) -> BaseSampler:
    """The sampler of one trial.

    Seeded by the number of trials before it: two workers, or the same study started again, would otherwise draw the
    same values from the same seed.
    """
    seed = (sweep.seed * _DRAWS + trials) % 2**32
    return RandomSampler(seed) if sweep.sampler == "random" else TPESampler(seed=seed)


def build_pruner(sweep: SweepConfig, *, max_epochs: int) -> BasePruner:
    """The pruner; its steps are epochs, counted from 0.

    Args:
        sweep: the search.
        max_epochs: 0 where the data decides.
    """
    match sweep.pruner:
        case "median":
            return MedianPruner(n_startup_trials=sweep.warmup_trials, n_warmup_steps=sweep.warmup_epochs)
        case "asha":
            return SuccessiveHalvingPruner(min_resource=max(sweep.warmup_epochs, 1), reduction_factor=sweep.reduction)
        case "hyperband":
            return HyperbandPruner(
                min_resource=max(sweep.warmup_epochs, 1),
                max_resource=max_epochs or "auto",
                reduction_factor=sweep.reduction,
            )
        case _:
            return NopPruner()


def _draw(trial: optuna.Trial, name: str, parameter: ParameterConfig) -> Any:
    if parameter.kind == "choice":
        return trial.suggest_categorical(name, parameter.choices)
    low, high, step = parameter.low or 0.0, parameter.high or 0.0, parameter.step
    if parameter.kind == "int":
        return trial.suggest_int(name, int(low), int(high), log=parameter.log, step=int(step or 1))
    return trial.suggest_float(name, low, high, log=parameter.log, step=step)
