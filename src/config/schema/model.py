"""Networks."""

from dataclasses import dataclass

from src.config.schema.rules import MISSING, require, require_choice


@dataclass(slots=True, kw_only=True)
class ModelConfig:
    """What every network shares."""

    dropout: float = 0.2
    """Dropout before the linear layer."""
    head_std: float = 0.01
    """Standard deviation of the linear layer's normal initialisation; the seed used 1.0."""
    prior_bias: bool = True
    """Start the bias at log(pi / (1 - pi)) with pi the class frequency in train (Lin et al., 2017, sec. 3.3)."""
    freeze: int = 0
    """Number of stages, from the input, that stay frozen, batch-norm statistics included."""
    unfreeze_epoch: int = -1
    """Epoch at which frozen stages start to train; -1 never."""

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "must lie in [0, 1)")
        require(self.head_std >= 0, "model.head_std", self.head_std, "must be >= 0")
        require(self.freeze >= 0, "model.freeze", self.freeze, "must be >= 0")
        require(self.unfreeze_epoch >= -1, "model.unfreeze_epoch", self.unfreeze_epoch, "must be >= -1")


@dataclass(slots=True, kw_only=True)
class MobileNetV2Config(ModelConfig):
    """Dilated MobileNetV2 (Sandler et al., 2018)."""

    width: float = 1.0
    """Width multiplier."""
    output_stride: int = 32
    """4 | 8 | 16 | 32: later strides become dilation."""
    padding: str = "torchvision"
    """torchvision (inside the depthwise convolution) | seed (block input padded, stem unpadded)."""
    pool: str = "avg"
    """avg | max | mixed (their mean) | attention (avg, and each class's strongest place): max sees small objects."""
    attention: float = 0.3
    """Weight of the strongest place with pool=attention (Zhu and Wu, 2021); 0 is avg."""
    recompute: bool = False
    """Keep only the blocks' inputs while training and compute the rest again: less memory, about a third slower."""
    weights: str | None = None
    """null: He-normal from scratch; imagenet: torchvision's own (downloaded); PATH: a torchvision state dict."""

    def __post_init__(self) -> None:
        super(MobileNetV2Config, self).__post_init__()
        require(0.1 <= self.width <= 4, "model.width", self.width, "must lie in 0.1..4")
        require(
            self.output_stride in (4, 8, 16, 32), "model.output_stride", self.output_stride, "must be 4, 8, 16 or 32"
        )
        require_choice("model.padding", self.padding, ("torchvision", "seed"))
        require_choice("model.pool", self.pool, ("avg", "max", "mixed", "attention"))
        require(0 <= self.attention <= 10, "model.attention", self.attention, "must lie in 0..10")


@dataclass(slots=True, kw_only=True)
class TimmConfig(ModelConfig):
    """Any timm backbone; needs the extra: pip install '.[timm]'."""

    name: str = MISSING
    """timm's model name, e.g. mobilenetv3_large_100."""
    pretrained: bool = False
    """Start from timm's weights (downloaded by timm)."""
    output_stride: int = 32
    """8 | 16 | 32 where the backbone supports it."""

    def __post_init__(self) -> None:
        super(TimmConfig, self).__post_init__()
        require(self.output_stride in (8, 16, 32), "model.output_stride", self.output_stride, "must be 8, 16 or 32")
