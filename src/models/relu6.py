"""ReLU6 in place whose gradient takes its own result, as that of ReLU does."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _ClampInPlace(torch.autograd.Function):
    """min(max(x, 0), 6), written over x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.clamp_(0, 6)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (result,) = ctx.saved_tensors
        # an expanded gradient (of a mean) has no memory format that could be kept: the result's is
        passed = torch.empty_like(result)
        torch.ops.aten.hardtanh_backward(gradient, result, 0, 6, grad_input=passed)
        return passed


class ReLU6(nn.ReLU6):
    """``nn.ReLU6(inplace=True)``, which copies its input first where a gradient is wanted, without that copy.

    PyTorch (2.14) keeps x for the gradient, and what is overwritten must be copied to be kept. Whether x lay
    within (0, 6) can be told from the result, which the next convolution keeps anyway: a third of a network's
    activations less, and the time of writing them.
    """

    def __init__(self) -> None:
        super().__init__(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[...] to [...], in place."""
        if self.training and torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling():
            clamped: Tensor = _ClampInPlace.apply(x)
            return clamped
        return F.relu6(x, inplace=True)
