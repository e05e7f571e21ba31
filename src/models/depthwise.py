"""Dilated depthwise convolutions without the slow kernels that libraries keep for them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LANE = torch.complex128
"""Values are moved 16 bytes at a time: element by element a GPU copies 16-bit values at a third of its bandwidth."""


class DilatedDepthwise(nn.Conv2d):
    """``nn.Conv2d`` for dilated 3x3 depthwise kernels of stride 1: the same state dict, the same function.

    In training, and on a GPU always, it is computed on sub-grids (``on_subgrids``): cuDNN 9 takes 45 ms for the weight
    gradient of one such layer at output stride 8 (H100, 256 images) where 3 do for all of it, and oneDNN on a CPU
    five times as long as for the undilated one (docs/performance.md). An exported network has the plain convolution.
    """

    foldable = True
    """A batch norm behind it may go into weight and bias, as with ``nn.Conv2d``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the parent's name
        """[B, C, H, W] to [B, C, H', W']."""
        dilation = self.dilation[0]
        if (self.training or input.is_cuda) and not _has_a_kernel(input, dilation):
            return on_subgrids(input, self.weight, self.bias, dilation=dilation, padding=int(self.padding[0]))
        return super().forward(input)


def _has_a_kernel(x_BCHW: Tensor, dilation: int) -> bool:
    """Whether the direct convolution is the faster one: cuDNN has kernels for fp16, dilation 2 and small maps."""
    return x_BCHW.is_cuda and x_BCHW.dtype == torch.float16 and dilation == 2 and x_BCHW.shape[2] <= 32


def on_subgrids(x_BCHW: Tensor, weight: Tensor, bias: Tensor | None = None, *, dilation: int, padding: int) -> Tensor:
    """A dilated depthwise convolution as an undilated one over d x d sub-grids.

    Pixels see only those whose row and column leave the same remainders by d. Each such sub-grid becomes an image of
    its own, is convolved without dilation, and is put back ("space to batch").

    Args:
        x_BCHW: images, best in channels_last.
        weight: [C, 1, 3, 3].
        bias: [C]; None is zero.
        dilation: d.
        padding: zeros around the images, pixels; 0 or d.

    Returns:
        What ``F.conv2d(..., stride=1, groups=C)`` gives, up to the order of sums; in channels_last.
    """
    channels, height, width = x_BCHW.shape[1:]
    lost = 2 * (dilation - padding)
    split, join = (apart, together) if torch.compiler.is_compiling() else (_Apart.apply, _Together.apply)
    grids_NCHW = F.conv2d(split(x_BCHW, dilation), weight, bias, padding=padding // dilation, groups=channels)
    out_BCHW: Tensor = join(grids_NCHW, dilation, height - lost, width - lost)
    return out_BCHW


def apart(x_BCHW: Tensor, dilation: int) -> Tensor:
    """Images to their sub-grids, [B d d, C, ceil(H / d), ceil(W / d)], filled up with zeros; in channels_last."""
    batch, _, height, width = x_BCHW.shape
    x_BHWC = F.pad(x_BCHW, (0, -width % dilation, 0, -height % dilation)).permute(0, 2, 3, 1)
    lanes = _lanes(x_BHWC.contiguous())
    rows, columns, depth = lanes.shape[1] // dilation, lanes.shape[2] // dilation, lanes.shape[3]
    grids = lanes.view(batch, rows, dilation, columns, dilation, depth).permute(0, 2, 4, 1, 3, 5)
    return grids.reshape(batch * dilation**2, rows, columns, depth).view(x_BCHW.dtype).permute(0, 3, 1, 2)


def together(grids_NCHW: Tensor, dilation: int, height: int, width: int) -> Tensor:
    """Sub-grids to images of these sides; undoes ``apart``."""
    lanes = _lanes(grids_NCHW.permute(0, 2, 3, 1).contiguous())
    count, rows, columns, depth = lanes.shape
    grids = lanes.view(count // dilation**2, dilation, dilation, rows, columns, depth).permute(0, 3, 1, 4, 2, 5)
    x_BHWC = grids.reshape(-1, rows * dilation, columns * dilation, depth).view(grids_NCHW.dtype)
    return x_BHWC[:, :height, :width].permute(0, 3, 1, 2)


def _lanes(x_NHWC: Tensor) -> Tensor:
    """The same memory as fewer, larger values, where channels fill them; autograd and compilers keep the small ones."""
    fits = all(count * x_NHWC.itemsize % LANE.itemsize == 0 for count in (x_NHWC.shape[3], x_NHWC.storage_offset()))
    if not fits or torch.compiler.is_compiling():
        return x_NHWC
    return x_NHWC.flatten().view(LANE).view(*x_NHWC.shape[:3], -1)  # sides of 1 may have any stride, flat has none


class _Apart(torch.autograd.Function):
    """``apart``; a linear map whose transpose is ``together``."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, dilation: int) -> Tensor:
        ctx.dilation, ctx.sides = dilation, x_BCHW.shape[2:]
        return apart(x_BCHW, dilation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return together(gradient, ctx.dilation, *ctx.sides), None


class _Together(torch.autograd.Function):
    """``together``; its transpose is ``apart``."""

    @staticmethod
    def forward(ctx: Any, grids_NCHW: Tensor, dilation: int, height: int, width: int) -> Tensor:
        ctx.dilation = dilation
        return together(grids_NCHW, dilation, height, width)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return apart(gradient, ctx.dilation), None, None, None
