"""Optimizers and learning-rate schedules."""

from dataclasses import dataclass

from src.config.schema.rules import require


@dataclass(slots=True, kw_only=True)
class OptimizerConfig:
    """What every optimizer shares."""

    lr: float = 1e-3
    """Base (peak) learning rate."""
    weight_decay: float = 0.0
    """Decay of dense weights; norms, biases and depthwise filters are left out."""
    head_lr_multiplier: float = 1.0
    """Learning rate of the linear head relative to lr."""

    def __post_init__(self) -> None:
        require(self.lr > 0, "optimizer.lr", self.lr, "must be > 0")
        require(self.weight_decay >= 0, "optimizer.weight_decay", self.weight_decay, "must be >= 0")
        multiplier = self.head_lr_multiplier
        require(multiplier > 0, "optimizer.head_lr_multiplier", multiplier, "must be > 0")


@dataclass(slots=True, kw_only=True)
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    momentum: float = 0.9
    """Momentum in [0, 1)."""
    nesterov: bool = True
    """Nesterov's form; needs momentum > 0."""

    def __post_init__(self) -> None:
        super(SGDConfig, self).__post_init__()
        require(0 <= self.momentum < 1, "optimizer.momentum", self.momentum, "must lie in [0, 1)")
        usable = self.momentum > 0 or not self.nesterov
        require(usable, "optimizer.nesterov", self.nesterov, "needs optimizer.momentum > 0")


@dataclass(slots=True, kw_only=True)
class AdamConfig(OptimizerConfig):
    """Adam (Kingma and Ba, 2015)."""

    beta1: float = 0.9
    """Decay of the gradient's running mean."""
    beta2: float = 0.999
    """Decay of the squared gradient's running mean."""
    eps: float = 1e-8
    """Added to the denominator."""

    def __post_init__(self) -> None:
        super(AdamConfig, self).__post_init__()
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name}", getattr(self, name), "must lie in [0, 1)")
        require(self.eps > 0, "optimizer.eps", self.eps, "must be > 0")


@dataclass(slots=True, kw_only=True)
class AdamWConfig(AdamConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""


@dataclass(slots=True, kw_only=True)
class RMSpropConfig(OptimizerConfig):
    """RMSprop, MobileNetV2's own optimizer."""

    momentum: float = 0.9
    """Momentum in [0, 1)."""
    alpha: float = 0.9
    """Decay of the squared gradient's running mean."""
    eps: float = 1e-3
    """Added to the denominator."""

    def __post_init__(self) -> None:
        super(RMSpropConfig, self).__post_init__()
        for name in ("momentum", "alpha"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name}", getattr(self, name), "must lie in [0, 1)")
        require(self.eps > 0, "optimizer.eps", self.eps, "must be > 0")


@dataclass(slots=True, kw_only=True)
class SchedulerConfig:
    """What every schedule shares."""

    warmup_epochs: float = 0.0
    """Epochs of linear warm-up from 1 % of lr (constant and cosine)."""

    def __post_init__(self) -> None:
        require(self.warmup_epochs >= 0, "scheduler.warmup_epochs", self.warmup_epochs, "must be >= 0")


@dataclass(slots=True, kw_only=True)
class ConstantConfig(SchedulerConfig):
    """The base learning rate throughout, after warm-up."""


@dataclass(slots=True, kw_only=True)
class CosineConfig(SchedulerConfig):
    """Half a cosine from lr to final_ratio * lr (Loshchilov and Hutter, 2017), per step."""

    final_ratio: float = 0.01
    """Last learning rate relative to lr."""

    def __post_init__(self) -> None:
        super(CosineConfig, self).__post_init__()
        require(0 <= self.final_ratio <= 1, "scheduler.final_ratio", self.final_ratio, "must lie in [0, 1]")


@dataclass(slots=True, kw_only=True)
class OneCycleConfig(SchedulerConfig):
    """OneCycle (Smith and Topin, 2018), per step."""

    pct_start: float = 0.2
    """Share of the steps spent rising."""
    div_factor: float = 25.0
    """Peak over first learning rate."""
    final_div_factor: float = 1e4
    """First over last learning rate."""

    def __post_init__(self) -> None:
        super(OneCycleConfig, self).__post_init__()
        require(0 < self.pct_start < 1, "scheduler.pct_start", self.pct_start, "must lie in (0, 1)")
        require(self.div_factor >= 1, "scheduler.div_factor", self.div_factor, "must be >= 1")
        require(self.final_div_factor >= 1, "scheduler.final_div_factor", self.final_div_factor, "must be >= 1")
        require(
            self.warmup_epochs == 0, "scheduler.warmup_epochs", self.warmup_epochs, "OneCycle has its own: pct_start"
        )


@dataclass(slots=True, kw_only=True)
class PlateauConfig(SchedulerConfig):
    """Lower lr when the objective on the fitting split (holdout, else val) stalls."""

    factor: float = 0.3
    """Factor on lr."""
    patience: int = 3
    """Epochs without improvement before lr falls."""
    min_lr: float = 1e-6
    """Lower bound of lr."""

    def __post_init__(self) -> None:
        super(PlateauConfig, self).__post_init__()
        require(0 < self.factor < 1, "scheduler.factor", self.factor, "must lie in (0, 1)")
        require(self.patience >= 0, "scheduler.patience", self.patience, "must be >= 0")
        require(self.min_lr >= 0, "scheduler.min_lr", self.min_lr, "must be >= 0")
