"""Losses and their answer to class imbalance."""

from dataclasses import dataclass

from src.config.schema.rules import require, require_choice


@dataclass(slots=True, kw_only=True)
class LossConfig:
    """What every loss shares."""

    scale: float = 1.0
    """Factor on the loss, which is a mean over images and classes; papers that sum over classes use the class count."""

    def __post_init__(self) -> None:
        require(self.scale > 0, "loss.scale", self.scale, "must be > 0")


@dataclass(slots=True, kw_only=True)
class BCEConfig(LossConfig):
    """Binary cross-entropy per class."""

    pos_weight: str = "none"
    """none | sqrt (capped square root of neg/pos) | effective (effective number, Cui et al., 2019)."""
    pos_weight_cap: float = 10.0
    """Largest weight of a positive; raw neg/pos reaches 640 on COCO."""
    beta: float = 0.999
    """Effective number's beta in [0, 1)."""

    def __post_init__(self) -> None:
        super(BCEConfig, self).__post_init__()
        require_choice("loss.pos_weight", self.pos_weight, ("none", "sqrt", "effective"))
        require(self.pos_weight_cap >= 1, "loss.pos_weight_cap", self.pos_weight_cap, "must be >= 1")
        require(0 <= self.beta < 1, "loss.beta", self.beta, "must lie in [0, 1)")


@dataclass(slots=True, kw_only=True)
class FocalConfig(LossConfig):
    """Focal loss (Lin et al., 2017)."""

    gamma: float = 2.0
    """Focusing strength; 0 gives BCE, 2 is the paper's choice."""
    alpha: float | None = None
    """Weight of positives in [0, 1]; null weighs both alike."""

    def __post_init__(self) -> None:
        super(FocalConfig, self).__post_init__()
        require(self.gamma >= 0, "loss.gamma", self.gamma, "must be >= 0; 0 gives BCE")
        alpha_ok = self.alpha is None or 0 <= self.alpha <= 1
        require(alpha_ok, "loss.alpha", self.alpha, "must lie in [0, 1], or null")


@dataclass(slots=True, kw_only=True)
class SoftF1Config(LossConfig):
    """1 - F1 on probabilities, differentiable."""

    average: str = "macro"
    """macro (F1 per class, then mean) | micro (one F1 over all decisions)."""
    mask_absent: bool = True
    """Leave out of a macro mean the classes without a positive in the batch."""
    bce_weight: float = 0.5
    """Share of BCE mixed in; 0 is soft-F1 alone."""

    def __post_init__(self) -> None:
        super(SoftF1Config, self).__post_init__()
        require_choice("loss.average", self.average, ("macro", "micro"))
        require(0 <= self.bce_weight <= 1, "loss.bce_weight", self.bce_weight, "must lie in [0, 1]")


@dataclass(slots=True, kw_only=True)
class ASLConfig(LossConfig):
    """Asymmetric loss (Ridnik et al., 2021)."""

    gamma_pos: float = 0.0
    """Focusing strength on positives."""
    gamma_neg: float = 4.0
    """Focusing strength on negatives."""
    clip: float = 0.05
    """Probability shift that discards easy negatives; 0 turns it off."""

    def __post_init__(self) -> None:
        super(ASLConfig, self).__post_init__()
        require(self.gamma_pos >= 0, "loss.gamma_pos", self.gamma_pos, "must be >= 0")
        require(self.gamma_neg >= 0, "loss.gamma_neg", self.gamma_neg, "must be >= 0")
        require(0 <= self.clip < 1, "loss.clip", self.clip, "must lie in [0, 1)")


@dataclass(slots=True, kw_only=True)
class TwoWayConfig(LossConfig):
    """Two-way ranking loss, within images and within classes (Kobayashi, 2023); its scores need fitted thresholds."""

    temperature_pos: float = 4.0
    """Softness of the lowest positive; the paper's choice."""
    temperature_neg: float = 1.0
    """Softness of the highest negative; the paper's choice."""

    def __post_init__(self) -> None:
        super(TwoWayConfig, self).__post_init__()
        require(self.temperature_pos > 0, "loss.temperature_pos", self.temperature_pos, "must be > 0")
        require(self.temperature_neg > 0, "loss.temperature_neg", self.temperature_neg, "must be > 0")
