"""From the configuration to an optimizer and its learning-rate schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from src.config.schema.optim import (
    AdamConfig,
    AdamWConfig,
    ConstantConfig,
    CosineConfig,
    OneCycleConfig,
    OptimizerConfig,
    PlateauConfig,
    RMSpropConfig,
    SchedulerConfig,
    SGDConfig,
)
from src.config.schema.rules import require
from src.optim import schedules


def build_optimizer(cfg: OptimizerConfig, groups: list[dict[str, Any]], *, fused: bool = True) -> Optimizer:
    """The optimizer over groups from ``param_groups``, which carry learning rate and weight decay.

    Adam's weight decay is L2 in the gradient, AdamW's is decoupled.

    Args:
        cfg: which one.
        groups: its parameters.
        fused: one kernel for all that is done to a parameter, which under fp16 also unscales its gradient and looks
            for overflow without the host. Else (and for RMSprop, which has none) one kernel an operation (``foreach``):
            what is fused unscales too late for Lightning to clip it under mixed precision.
    """
    kernels: dict[str, bool] = {"fused": True} if fused else {"foreach": True}
    match cfg:
        case SGDConfig():
            return SGD(groups, lr=cfg.lr, momentum=cfg.momentum, nesterov=cfg.nesterov, **kernels)
        case AdamWConfig():  # before AdamConfig, its parent
            return AdamW(groups, lr=cfg.lr, betas=(cfg.beta1, cfg.beta2), eps=cfg.eps, **kernels)
        case AdamConfig():
            return Adam(groups, lr=cfg.lr, betas=(cfg.beta1, cfg.beta2), eps=cfg.eps, **kernels)
        case RMSpropConfig():
            return RMSprop(groups, lr=cfg.lr, alpha=cfg.alpha, eps=cfg.eps, momentum=cfg.momentum, foreach=True)
        case _:
            raise TypeError(f"no optimizer for {type(cfg).__name__}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A scheduler and how the loop steps it."""

    scheduler: LRScheduler
    interval: Literal["step", "epoch"]
    """Step after every optimizer step, or after every epoch."""
    monitored: bool
    """Whether ``scheduler.step`` takes the objective (higher is better)."""


def build_schedule(cfg: SchedulerConfig, optimizer: Optimizer, *, total_steps: int, steps_per_epoch: int) -> Schedule:
    """The schedule over an optimizer whose groups hold their peak rates; each group is scaled alike.

    State dicts are plain numbers: the functions themselves are rebuilt from the configuration. Momentum is not cycled.

    Args:
        cfg: which schedule.
        optimizer: its groups' ``lr`` are the peaks.
        total_steps: optimizer steps of the whole run.
        steps_per_epoch: optimizer steps of an epoch, for the length of the warm-up.

    Raises:
        ConfigError: warm-up longer than the run, or asked of the plateau schedule.
    """
    warmup_steps = round(cfg.warmup_epochs * steps_per_epoch)
    fits = f"must not exceed the run's {total_steps / steps_per_epoch:g} epochs"
    require(warmup_steps <= total_steps, "scheduler.warmup_epochs", cfg.warmup_epochs, fits)
    match cfg:
        case ConstantConfig():
            return _per_step(optimizer, partial(schedules.constant, warmup_steps=warmup_steps))
        case CosineConfig(final_ratio=final_ratio):
            shape = partial(schedules.cosine, warmup_steps=warmup_steps, final_ratio=final_ratio)
            return _per_step(optimizer, partial(shape, total_steps=total_steps))
        case OneCycleConfig():
            shape = partial(schedules.one_cycle, pct_start=cfg.pct_start, div_factor=cfg.div_factor)
            return _per_step(optimizer, partial(shape, total_steps=total_steps, final_div_factor=cfg.final_div_factor))
        case PlateauConfig():
            return _plateau(cfg, optimizer)
        case _:
            raise TypeError(f"no schedule for {type(cfg).__name__}")


def _per_step(optimizer: Optimizer, factor: Callable[[int], float]) -> Schedule:
    return Schedule(scheduler=LambdaLR(optimizer, factor), interval="step", monitored=False)


def _plateau(cfg: PlateauConfig, optimizer: Optimizer) -> Schedule:
    usable = "the plateau schedule has no warm-up; use 0, or scheduler=cosine"
    require(cfg.warmup_epochs == 0, "scheduler.warmup_epochs", cfg.warmup_epochs, usable)
    scheduler = ReduceLROnPlateau(optimizer, mode="max", factor=cfg.factor, patience=cfg.patience, min_lr=cfg.min_lr)
    return Schedule(scheduler=scheduler, interval="epoch", monitored=True)
