import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

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
from src.config.schema.rules import ConfigError
from src.optim.build import build_optimizer, build_schedule

OPTIMIZERS = [SGDConfig(), SGDConfig(momentum=0.0, nesterov=False), AdamConfig(), AdamWConfig(), RMSpropConfig()]
SCHEDULERS = [
    ConstantConfig(warmup_epochs=0.5),
    CosineConfig(warmup_epochs=1.0, final_ratio=0.05),
    OneCycleConfig(),
    PlateauConfig(patience=0),
]


def groups(weight: Tensor, bias: Tensor, decay: float = 0.0, lr: float = 0.1) -> list[dict[str, Any]]:
    return [
        {"name": "backbone", "params": [weight], "lr": lr, "weight_decay": decay},
        {"name": "head_no_decay", "params": [bias], "lr": 10 * lr, "weight_decay": 0.0},
    ]


def parameters() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 4, generator=generator, requires_grad=True), torch.randn(
        3, generator=generator, requires_grad=True
    )


def ten_steps(optimizer: torch.optim.Optimizer, weight: Tensor, bias: Tensor) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(10):
        optimizer.zero_grad()
        torch.nn.functional.linear(x, weight, bias).sub(1).square().mean().backward()
        optimizer.step()


def plainly(cfg: OptimizerConfig, members: list[dict[str, Any]]) -> torch.optim.Optimizer:
    match cfg:
        case SGDConfig():
            return torch.optim.SGD(members, momentum=cfg.momentum, nesterov=cfg.nesterov, foreach=False)
        case AdamWConfig():
            return torch.optim.AdamW(members, foreach=False)
        case AdamConfig():
            return torch.optim.Adam(members, foreach=False)
        case _:
            return torch.optim.RMSprop(members, alpha=0.9, eps=1e-3, momentum=0.9, foreach=False)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cfg", OPTIMIZERS, ids=lambda cfg: type(cfg).__name__)
def test_build_optimizer__steps_as_torchs_plain_one(cfg, fused):
    ours, theirs = parameters(), parameters()
    optimizer = build_optimizer(cfg, groups(*ours, decay=0.1, lr=0.01), fused=fused)
    assert bool(optimizer.defaults.get("fused")) is (fused and not isinstance(cfg, RMSpropConfig))
    ten_steps(optimizer, *ours)
    ten_steps(plainly(cfg, groups(*theirs, decay=0.1, lr=0.01)), *theirs)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("cfg", "names"),
    [
        (SGDConfig(momentum=0.8, nesterov=False), {"momentum": 0.8, "nesterov": False}),
        (AdamConfig(beta1=0.7, beta2=0.8, eps=1e-4), {"betas": (0.7, 0.8), "eps": 1e-4}),
        (AdamWConfig(beta1=0.7, beta2=0.8, eps=1e-4), {"betas": (0.7, 0.8), "eps": 1e-4}),
        (RMSpropConfig(momentum=0.5, alpha=0.6, eps=0.1), {"momentum": 0.5, "alpha": 0.6, "eps": 0.1}),
    ],
)
def test_build_optimizer__settings_arrive_in_every_group(cfg, names):
    optimizer = build_optimizer(cfg, groups(*parameters()))
    for group, lr in zip(optimizer.param_groups, (0.1, 1.0), strict=True):
        assert {key: group[key] for key in names} == names
        assert group["lr"] == lr


def test_build_optimizer__adam_couples_decay_and_adamw_does_not():
    """With a zero gradient AdamW shrinks by lr * decay, while Adam's normalised L2 step has the size of lr."""
    moved = {}
    for cfg in (AdamConfig(), AdamWConfig()):
        weight = torch.full((2,), 5.0, requires_grad=True)
        weight.grad = torch.zeros(2)
        group = {"name": "backbone", "params": [weight], "lr": 0.1, "weight_decay": 0.01}
        build_optimizer(cfg, [group]).step()
        moved[type(cfg)] = 5.0 - weight[0].item()
    assert moved[AdamWConfig] == pytest.approx(0.1 * 0.01 * 5.0, rel=1e-4)
    assert moved[AdamConfig] == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("cfg", OPTIMIZERS, ids=lambda cfg: type(cfg).__name__)
def test_build_optimizer__state_round_trip_is_plain_and_exact(cfg):
    straight, resumed = parameters(), parameters()
    optimizer = build_optimizer(cfg, groups(*straight, decay=0.1, lr=0.01))
    ten_steps(optimizer, *straight)
    with torch.no_grad():
        for target, source in zip(resumed, straight, strict=True):
            target.copy_(source)
    other = build_optimizer(cfg, groups(*resumed, decay=0.1, lr=0.01))
    other.load_state_dict(through_file(optimizer.state_dict()))
    ten_steps(optimizer, *straight)
    ten_steps(other, *resumed)
    torch.testing.assert_close(resumed, straight, rtol=0, atol=0)
    assert [group["name"] for group in other.param_groups] == ["backbone", "head_no_decay"]


def through_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cfg", OPTIMIZERS, ids=lambda cfg: type(cfg).__name__)
def test_build_optimizer__under_a_gradient_scaler_overflow_changes_nothing_and_the_rest_is_the_same(cfg, fused):
    """As fp16 trains; the scaler works on the CPU too."""
    scaled, plain = parameters(), parameters()
    optimizer, other = (build_optimizer(cfg, groups(*own, lr=0.01), fused=fused) for own in (scaled, plain))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(4):
        before = [one.detach().clone() for one in scaled]
        for i, (one, twin) in enumerate(zip(scaled, plain, strict=True)):
            twin.grad = torch.randn(twin.shape, generator=torch.Generator().manual_seed(10 * step + i))
            one.grad = twin.grad * (scaler.get_scale() if step != 1 else torch.inf)
        scaler.scale(torch.zeros(()))  # makes the scale
        if not fused:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if step == 1:
            assert all(torch.equal(one, old) for one, old in zip(scaled, before, strict=True))
            assert scaler.get_scale() == 512
        else:
            other.step()
            torch.testing.assert_close(scaled, plain)


class Run:
    """A training run's optimizer and schedule, stepped as the loop does."""

    def __init__(self, cfg: SchedulerConfig, total_steps: int = 40, steps_per_epoch: int = 10) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.optimizer = build_optimizer(SGDConfig(), groups(*parameters()))
        self.schedule = build_schedule(cfg, self.optimizer, total_steps=total_steps, steps_per_epoch=steps_per_epoch)

    def advance(self, first: int, last: int) -> list[list[float]]:
        rates = []
        for step in range(first, last):
            rates.append([group["lr"] for group in self.optimizer.param_groups])
            self.optimizer.step()
            if self.schedule.interval == "step":
                self.schedule.scheduler.step()
            elif (step + 1) % self.steps_per_epoch == 0:
                self.schedule.scheduler.step(torch.tensor(0.3))
        return rates


@pytest.mark.parametrize("cfg", SCHEDULERS, ids=lambda cfg: type(cfg).__name__)
@pytest.mark.parametrize("interruption", [1, 13, 20, 39])
def test_build_schedule__resumed_rates_are_those_of_the_whole_run(cfg, interruption):
    whole = Run(cfg).advance(0, 40)
    first, second = Run(cfg), Run(cfg)
    head = first.advance(0, interruption)
    second.schedule.scheduler.load_state_dict(through_file(first.schedule.scheduler.state_dict()))
    second.optimizer.load_state_dict(through_file(first.optimizer.state_dict()))
    assert head + second.advance(interruption, 40) == whole
    assert len({rates[0] for rates in whole}) > 1


@pytest.mark.parametrize("cfg", SCHEDULERS, ids=lambda cfg: type(cfg).__name__)
def test_build_schedule__groups_keep_their_ratio_and_steps_past_the_end_are_harmless(cfg):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rates = Run(cfg).advance(0, 45)
    assert [head for _, head in rates] == pytest.approx([10 * backbone for backbone, _ in rates])


def test_build_schedule__one_cycle_peaks_at_each_groups_own_rate_and_leaves_momentum():
    run = Run(OneCycleConfig(div_factor=20, final_div_factor=100))
    rates = run.advance(0, 40)
    assert rates[0] == pytest.approx([0.1 / 20, 1.0 / 20])
    assert rates[7] == pytest.approx([0.1, 1.0])
    assert rates[39] == pytest.approx([0.1 / 2000, 1.0 / 2000])
    assert {group["momentum"] for group in run.optimizer.param_groups} == {0.9}


def test_build_schedule__a_longer_resumed_run_follows_the_longer_plan():
    short, longer = Run(CosineConfig()), Run(CosineConfig(), total_steps=80)
    short.advance(0, 40)
    longer.schedule.scheduler.load_state_dict(through_file(short.schedule.scheduler.state_dict()))
    longer.optimizer.load_state_dict(through_file(short.optimizer.state_dict()))
    assert longer.advance(40, 80)[1:] == Run(CosineConfig(), total_steps=80).advance(0, 80)[41:]


def test_build_schedule__constant_without_warm_up():
    assert Run(ConstantConfig()).advance(0, 20) == [[0.1, 1.0]] * 20


def test_build_schedule__warm_up_counts_epochs():
    rates = [backbone for backbone, _ in Run(ConstantConfig(warmup_epochs=1.5)).advance(0, 20)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[14] < 0.1
    assert rates[15:] == pytest.approx([0.1] * 5)


def test_build_schedule__plateau_watches_the_objective_upwards():
    run = Run(PlateauConfig(factor=0.5, patience=1, min_lr=0.03))
    assert (run.schedule.interval, run.schedule.monitored) == ("epoch", True)
    assert isinstance(run.schedule.scheduler, ReduceLROnPlateau)
    rates = []
    for objective in (0.1, 0.2, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.1):
        run.schedule.scheduler.step(objective)
        rates.append(run.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1] * 4 + [0.05] * 2 + [0.03] * 3)


@pytest.mark.parametrize("cfg", SCHEDULERS[:3], ids=lambda cfg: type(cfg).__name__)
def test_build_schedule__others_step_unmonitored(cfg):
    schedule = Run(cfg).schedule
    assert (schedule.interval, schedule.monitored) == ("step", False)


def test_build_schedule__plateau_refuses_warm_up():
    with pytest.raises(ConfigError, match=r"scheduler\.warmup_epochs=1.*no warm-up; use 0, or scheduler=cosine"):
        Run(PlateauConfig(warmup_epochs=1))


def test_build_schedule__warm_up_longer_than_the_run():
    with pytest.raises(ConfigError, match=r"scheduler\.warmup_epochs=5.*must not exceed the run's 4 epochs"):
        Run(CosineConfig(warmup_epochs=5))
    assert Run(CosineConfig(warmup_epochs=4)).advance(39, 40)


@pytest.mark.parametrize(("build", "cfg"), [(build_optimizer, OptimizerConfig()), (None, SchedulerConfig())])
def test_build__unknown_configuration(build, cfg):
    with pytest.raises(TypeError, match=type(cfg).__name__):
        build(cfg, groups(*parameters())) if build else Run(cfg)
