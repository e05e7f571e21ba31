"""Float32 that is float32: without the shortened numbers (TF32) that GPUs put in its place."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Products in full float32 within this block.

    PyTorch lets cuDNN round the factors of float32 convolutions to 10 bits, and training lets matrix products too; the
    kernel, and so the score of an image, then depends on how many others share its batch. Decisions are made at
    thresholds that were fitted to scores, so scores are computed without it.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
