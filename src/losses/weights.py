"""Weights of the positives against class imbalance, for binary cross-entropy."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pos_weights(
    counts_C: NDArray[np.integer], num_images: int, *, kind: str, cap: float = 10.0, beta: float = 0.999
) -> Tensor | None:
    """Weight of each class's positives relative to its negatives.

    With n images that have the class and m = num_images - n that have it not:

        sqrt:       sqrt(m / n)
        effective:  E(m) / E(n),   E(k) = (1 - beta^k) / (1 - beta)

    E is the effective number of k samples and 1 / E their weight (Cui et al., Class-Balanced Loss Based on Effective
    Number of Samples, CVPR 2019, eq. 2). A label is a two-class problem, so positives get 1 / E(n) and negatives
    1 / E(m); dividing by the latter leaves negatives at 1, which keeps the loss on BCE's scale. beta = 0 gives 1,
    beta -> 1 gives m / n.

    Weights are clipped to [1 / cap, cap]: on COCO m / n reaches 640, and a class in every image (m = 0) must not get
    0, which would silence it. A class without positives gets ``cap``.

    Args:
        counts_C: images that contain each class, integer [C].
        num_images: images counted.
        kind: "none", "sqrt" or "effective".
        cap: largest weight, >= 1.
        beta: of the effective number, in [0, 1).

    Returns:
        float32 [C], or None for "none".

    Raises:
        ValueError: a count lies outside 0..num_images, for example because boxes were counted instead of images.
    """
    if kind == "none":
        return None
    positives_C = np.asarray(counts_C, dtype=np.float64)
    negatives_C = num_images - positives_C
    if positives_C.min(initial=0) < 0 or negatives_C.min(initial=0) < 0:
        raise ValueError(f"class counts must lie in 0..{num_images} images; got {counts_C.min()}..{counts_C.max()}")
    ratio_C = np.full_like(positives_C, cap)
    present_C = positives_C > 0
    n, m = positives_C[present_C], negatives_C[present_C]
    ratio_C[present_C] = np.sqrt(m / n) if kind == "sqrt" else (1 - beta**m) / (1 - beta**n)
    return torch.from_numpy(ratio_C.clip(1 / cap, cap)).float()
