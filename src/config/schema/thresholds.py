"""How decision thresholds are fitted."""

import math
from dataclasses import dataclass

from src.config.schema.rules import require, require_choice

OBJECTIVES = ("fbeta", "precision_at_recall", "recall_at_precision")


@dataclass(slots=True, kw_only=True)
class ThresholdsConfig:
    """What the thresholds of a run are best for; fitted on the holdout, exactly, by sorting."""

    objective: str = "fbeta"
    """fbeta | precision_at_recall (highest precision with recall >= target) | recall_at_precision."""
    beta: float = 1.0
    """Weight of recall in F-beta; 1 is F1, 2 counts recall double, 0.5 half."""
    target: float = 0.9
    """Recall or precision that the other two objectives require."""
    average: str = "micro"
    """micro (all decisions pooled) | macro (mean over classes): what the global threshold is best for."""
    shrink: float | None = None
    """Positives at which a class's own threshold weighs one half; 0 does not shrink, null cross-validates."""

    bags: int = 100
    """Resamples whose optima the global threshold is the centre of (F-beta only); 0 takes the optimum itself."""

    def __post_init__(self) -> None:
        require_choice("thresholds.objective", self.objective, OBJECTIVES)
        require_choice("thresholds.average", self.average, ("micro", "macro"))
        require(0 < self.beta < math.inf, "thresholds.beta", self.beta, "must be > 0 and finite")
        require(0 < self.target <= 1, "thresholds.target", self.target, "must lie in (0, 1]")
        require(self.bags >= 0, "thresholds.bags", self.bags, "must be >= 0")
        shrink_ok = self.shrink is None or self.shrink >= 0
        require(shrink_ok, "thresholds.shrink", self.shrink, "must be >= 0, or null to choose it")
