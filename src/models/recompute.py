"""Activations forgotten in the forward pass and computed again in the backward one.

Memory of one block at a time instead of all, for about one forward pass more (Chen et al., Training Deep Nets with
Sublinear Memory Cost, 2016).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recomputed(block: nn.Module, x_BCHW: Tensor) -> Tensor:
    """``block(x)``, whose inner activations are not kept.

    The second forward pass sees the batch statistics of the first, so that gradients are the same, but must not add
    them to the running statistics again.

    Args:
        block: without randomness of its own; restoring generator states would cost a synchronisation on CUDA.
        x_BCHW: its input, which is kept.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _keeping_running_statistics(block)

    out_BCHW: Tensor = checkpoint(block, x_BCHW, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return out_BCHW


@contextmanager
def _keeping_running_statistics(block: nn.Module) -> Iterator[None]:
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # (1 - 0) r + 0 b is r to the last bit; another tensor takes the count of batches
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
