"""How far an engine's answers are from those of the trained network in float32."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Engine = Callable[[Tensor], Tensor]
"""uint8 images [B, 3, H, W] to logits [B, C]."""
PARITY_IMAGES = 64
"""Of those scored, how many the reference computes too."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences over N images and C classes, with z the logits and p = sigmoid(z)."""

    images: int
    logit_scale: float
    """Largest abs(z) of the reference."""
    logit_max: float
    """max abs(z' - z)."""
    logit_mean: float
    """mean abs(z' - z)."""
    probability_max: float
    """max abs(p' - p)."""
    probability_mean: float
    """mean abs(p' - p)."""
    decisions: int
    """N C."""
    flipped: dict[str, int]
    """Decisions p >= t that come out otherwise, by name of the thresholds t."""

    def to_json(self) -> dict[str, Any]:
        """Plain dict."""
        return asdict(self)


def compare(
    logits_BC: Tensor, reference_BC: Tensor, *, thresholds: Mapping[str, NDArray[np.float64]] | None = None
) -> Parity:
    """Differences of logits to those of the reference.

    Args:
        logits_BC: of the engine.
        reference_BC: of the trained network in float32.
        thresholds: by name, one in [0, 1] for each class, float64 [C].
    """
    z, z_ref = logits_BC.double(), reference_BC.double()
    p, p_ref = z.sigmoid(), z_ref.sigmoid()
    flipped = {}
    for name, given in (thresholds or {}).items():
        cut = torch.from_numpy(given)
        flipped[name] = int(((p >= cut) != (p_ref >= cut)).sum())
    return Parity(
        images=len(z),
        logit_scale=float(z_ref.abs().max()),
        logit_max=float((z - z_ref).abs().max()),
        logit_mean=float((z - z_ref).abs().mean()),
        probability_max=float((p - p_ref).abs().max()),
        probability_mean=float((p - p_ref).abs().mean()),
        decisions=z.numel(),
        flipped=flipped,
    )


class Watched:
    """An engine that is asked beside the network it stands for, for the first images that pass.

    Args:
        engine: computes what is returned.
        reference: the trained network in float32.
        limit: images that are computed twice.
    """

    def __init__(self, engine: Engine, reference: Engine, *, limit: int = PARITY_IMAGES) -> None:
        self._engine, self._reference, self._limit = engine, reference, limit
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Logits [B, C] of the engine."""
        logits_BC = self._engine(images_BCHW)
        if left := max(0, self._limit - sum(len(pair[0]) for pair in self._pairs)):
            self._pairs.append((logits_BC[:left].float().cpu(), self._reference(images_BCHW[:left]).float().cpu()))
        return logits_BC

    def parity(self, *, thresholds: Mapping[str, NDArray[np.float64]] | None = None) -> Parity:
        """What was found so far; at least one image must have passed."""
        logits, references = zip(*self._pairs, strict=True)
        return compare(torch.cat(logits), torch.cat(references), thresholds=thresholds)
