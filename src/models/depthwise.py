"""Dilated depthwise convolutions without the slow kernels that libraries keep for them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LANE = torch.complex128
"""Values are moved 16 bytes at a time: element by element a GPU copies 16-bit values at a third of its bandwidth."""


class DilatedDepthwise(nn.Conv2d):
    """A dilated 3x3 depthwise convolution of stride 1: state dict and function of ``nn.Conv2d``.

    In training, and on a GPU always, it is computed on sub-grids (``on_subgrids``), since cuDNN and oneDNN have slow
    kernels for it (docs/performance.md). An exported network has the plain convolution. Its result must not be changed
    in place where a gradient is wanted, and has no second derivative; in the network a batch norm comes next.

    Args:
        channels: of input and output.
        dilation: of both axes.
        padding: zeros around the images, pixels; 0 or ``dilation``.
        bias: whether it has one.

    Raises:
        ValueError: another padding.
    """

    foldable = True
    """A batch norm behind it may go into weight and bias, as with ``nn.Conv2d``."""

    def __init__(self, channels: int, *, dilation: int, padding: int, bias: bool = False) -> None:
        if padding not in (0, dilation):
            raise ValueError(f"padding {padding}: expected 0 or the dilation, {dilation}")
        super().__init__(channels, channels, 3, padding=padding, dilation=dilation, groups=channels, bias=bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H', W']."""
        dilation = self.dilation[0]
        if (self.training or x_BCHW.is_cuda) and not _has_a_kernel(x_BCHW, dilation):
            return on_subgrids(x_BCHW, self.weight, self.bias, dilation=dilation, padding=int(self.padding[0]))
        return super().forward(x_BCHW)


def _has_a_kernel(x_BCHW: Tensor, dilation: int) -> bool:
    """Whether the direct convolution is the faster one: cuDNN has kernels for fp16, dilation 2 and small maps."""
    return x_BCHW.is_cuda and x_BCHW.dtype == torch.float16 and dilation == 2 and max(x_BCHW.shape[2:]) <= 32


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
    return _values(grids.reshape(batch * dilation**2, rows, columns, depth), x_BCHW.dtype).permute(0, 3, 1, 2)


def together(grids_NCHW: Tensor, dilation: int, height: int, width: int) -> Tensor:
    """Sub-grids to images of these sides; undoes ``apart``."""
    lanes = _lanes(grids_NCHW.permute(0, 2, 3, 1).contiguous())
    count, rows, columns, depth = lanes.shape
    grids = lanes.view(count // dilation**2, dilation, dilation, rows, columns, depth).permute(0, 3, 1, 4, 2, 5)
    x_BHWC = _values(grids.reshape(-1, rows * dilation, columns * dilation, depth), grids_NCHW.dtype)
    return x_BHWC[:, :height, :width].permute(0, 3, 1, 2)


def _lanes(x_NHWC: Tensor) -> Tensor:
    """The same memory as fewer, larger values, where channels fill them; autograd and compilers keep the small ones."""
    if torch.compiler.is_compiling():
        return x_NHWC
    size = x_NHWC.itemsize
    if x_NHWC.shape[3] * size % LANE.itemsize or x_NHWC.storage_offset() * size % LANE.itemsize:
        return x_NHWC
    return x_NHWC.flatten().view(LANE).view(*x_NHWC.shape[:3], -1)  # sides of 1 may have any stride, flat has none


def _values(lanes: Tensor, dtype: torch.dtype) -> Tensor:
    """Undoes ``_lanes``; a view as another type has no gradient, not even as the same one."""
    return lanes if lanes.dtype == dtype else lanes.view(dtype)


class _Apart(torch.autograd.Function):
    """``apart``; a linear map whose transpose is ``together``."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, dilation: int) -> Tensor:
        ctx.dilation, ctx.sides = dilation, x_BCHW.shape[2:]
        return apart(x_BCHW, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return together(gradient, ctx.dilation, *ctx.sides), None


class _Together(torch.autograd.Function):
    """``together``; its transpose is ``apart``."""

    @staticmethod
    def forward(ctx: Any, grids_NCHW: Tensor, dilation: int, height: int, width: int) -> Tensor:
        ctx.dilation = dilation
        return together(grids_NCHW, dilation, height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return apart(gradient, ctx.dilation), None, None, None
