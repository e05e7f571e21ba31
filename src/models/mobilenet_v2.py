"""MobileNetV2 with any output stride by dilation (Sandler et al., CVPR 2018; atrous rates as in Chen et al., 2017).

Parameter names are torchvision's, so its state dicts load one to one: stride, dilation and padding carry no weights.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from src.models.depthwise import DilatedDepthwise
from src.models.recompute import recomputed
from src.models.relu6 import ReLU6

STEM_CHANNELS = 32
LAST_CHANNELS = 1280
STAGES = (  # expansion, channels, blocks, stride: table 2 of the paper
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of ``divisor``, never below 90 % of ``channels`` (torchvision's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Geometry of one inverted residual block."""

    expansion: int
    channels: int
    """Output channels at width 1."""
    nominal_stride: int
    """Stride at output stride 32."""
    stride: int
    """Stride at the output stride asked for."""
    dilation: int


def dilated_layout(output_stride: int) -> list[BlockLayout]:
    """The 17 blocks at an output stride.

    Once the running stride has reached ``output_stride``, later strides become 1 and multiply the dilation. The first
    block of such a stage keeps the previous dilation, because it still reads the undilated grid.

    Args:
        output_stride: 4, 8, 16 or 32, input side over side of the last feature map.
    """
    blocks = []
    running, dilation = 2, 1  # the stem's stride
    for expansion, channels, count, nominal in STAGES:
        first_dilation, stride = dilation, nominal
        if running >= output_stride:
            dilation *= nominal
            stride = 1
        running *= stride
        blocks.append(BlockLayout(expansion, channels, nominal, stride, first_dilation))
        blocks += [BlockLayout(expansion, channels, 1, 1, dilation)] * (count - 1)
    return blocks


def _conv_bn_relu6(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    conv: nn.Conv2d
    if dilation > 1:  # then it is a 3x3 depthwise one of stride 1, see dilated_layout
        conv = DilatedDepthwise(in_channels, dilation=dilation, padding=padding)
    else:
        conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), ReLU6())


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where the nominal shape is kept.

    The shortcut follows the nominal stride, not the dilated one: a state dict means the same function at every output
    stride.
    """

    def __init__(self, in_channels: int, out_channels: int, layout: BlockLayout, *, padding: str) -> None:
        super().__init__()
        hidden = in_channels * layout.expansion
        self.shortcut = layout.nominal_stride == 1 and in_channels == out_channels
        self.input_padding = layout.dilation if padding == "seed" else 0
        depthwise = _conv_bn_relu6(
            hidden,
            hidden,
            3,
            stride=layout.stride,
            padding=layout.dilation - self.input_padding,
            dilation=layout.dilation,
            groups=hidden,
        )
        expand = [_conv_bn_relu6(in_channels, hidden, 1)] if layout.expansion != 1 else []
        project = [nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
        self.conv = nn.Sequential(*expand, depthwise, *project)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', ceil(H / stride), ceil(W / stride)]."""
        out_BCHW: Tensor = self.conv(F.pad(x_BCHW, (self.input_padding,) * 4) if self.input_padding else x_BCHW)
        return x_BCHW + out_BCHW if self.shortcut else out_BCHW


class MobileNetV2(nn.Module):
    """MobileNetV2 classifier.

    Args:
        num_classes: logits per image.
        width: width multiplier.
        output_stride: 4, 8, 16 or 32.
        padding: "torchvision" pads inside the depthwise convolution and the stem. "seed" pads the block's input before
            the expansion, by the dilation, and leaves the stem unpadded (256 -> 127): the padded border then passes
            the expansion's batch norm, which costs up to 15 % more memory and multiplications.
        dropout: probability before the linear layer.
        pool: "avg", "max" or "mixed", see :func:`pooled`; "attention", see :func:`attended`.
        attention: weight of each class's strongest place, for ``pool="attention"``.
        recompute: forget the blocks' inner activations while training, see :mod:`src.models.recompute`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        width: float = 1.0,
        output_stride: int = 32,
        padding: str = "torchvision",
        dropout: float = 0.2,
        pool: str = "avg",
        attention: float = 0.3,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.pool, self.attention, self.recompute = width, pool, attention, recompute
        channels = make_divisible(STEM_CHANNELS * width)
        features: list[nn.Module] = [_conv_bn_relu6(3, channels, 3, stride=2, padding=int(padding == "torchvision"))]
        for layout in dilated_layout(output_stride):
            out_channels = make_divisible(layout.channels * width)
            features.append(InvertedResidual(channels, out_channels, layout, padding=padding))
            channels = out_channels
        last_channels = make_divisible(LAST_CHANNELS * max(1.0, width))
        features.append(_conv_bn_relu6(channels, last_channels, 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last_channels, num_classes))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W] to logits [B, num_classes]."""
        for block in self.features:
            x_BCHW = recomputed(block, x_BCHW) if self.recompute and block.training else block(x_BCHW)
        dropout, linear = self.classifier
        assert isinstance(dropout, nn.Dropout)
        assert isinstance(linear, nn.Linear)
        if self.pool == "attention":
            # a channel is dropped everywhere, as the pooled one would be
            x_BCHW = F.dropout2d(x_BCHW, dropout.p, self.training)
            return attended(x_BCHW, linear, self.attention)
        logits_BC: Tensor = linear(dropout(pooled(x_BCHW, self.pool)))
        return logits_BC


def pooled(x_BDHW: Tensor, kind: str) -> Tensor:
    """Feature map to one vector per image, [B, D]: its mean ("avg"), its maximum ("max"), or their mean ("mixed").

    An object of one cell moves a mean over 49 cells little, a maximum fully; mixed pooling: Lee et al., AISTATS 2016.
    """
    if kind == "avg":
        return F.adaptive_avg_pool2d(x_BDHW, 1).flatten(1)
    highest_BD = x_BDHW.amax((2, 3))
    return highest_BD if kind == "max" else (x_BDHW.mean((2, 3)) + highest_BD) / 2


def attended(x_BDHW: Tensor, linear: nn.Linear, attention: float) -> Tensor:
    """Class-specific residual attention: every class also looks at the place where it is strongest.

        logit_c = mean_i s_ci + attention * max_i (s_ci - b_c),   s_ci = w_c x_i + b_c

    over the places i of the feature map (Zhu and Wu, Residual Attention, ICCV 2021, with one head and T = infinity).
    It has no parameters of its own; 0 is average pooling.

    Args:
        x_BDHW: feature map.
        linear: D features to C logits.
        attention: the paper's lambda.

    Returns:
        Logits [B, C].
    """
    scores_BLC: Tensor = linear(x_BDHW.flatten(2).transpose(1, 2))
    return scores_BLC.mean(1) + attention * (scores_BLC.amax(1) - linear.bias)


def stage_names() -> tuple[tuple[str, ...], ...]:
    """Module names per stage from the input on: stem, the seven rows of STAGES, the last 1x1 convolution."""
    names: list[tuple[str, ...]] = [("features.0",)]
    first = 1
    for _, _, count, _ in STAGES:
        names.append(tuple(f"features.{i}" for i in range(first, first + count)))
        first += count
    return (*names, (f"features.{first}",))
