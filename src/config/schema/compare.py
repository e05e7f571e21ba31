"""The configuration of ``python -m src.compare``."""

from dataclasses import dataclass
from typing import Any

from src.config.schema.rules import MISSING, require, require_choice


@dataclass(slots=True, kw_only=True)
class CompareConfig:
    """Compare finished runs: means over seeds, paired differences with intervals, curves."""

    runs: Any = MISSING
    """[A,B,...]: run folders, folders that hold runs, patterns such as 'outputs/focal/*', latest, latest_sweep."""
    split: str = "val"
    """train | holdout | val: whose predictions are compared."""
    by: Any = None
    """Key or [keys] whose values make the groups, e.g. loss; null: everything that differs but the seed."""
    reference: str | None = None
    """Group label or run folder that the others are compared with; null takes the first."""
    output: str | None = None
    """Folder of the page and the tables; null makes outputs/comparisons/<time>."""
    output_dir: str = "outputs"
    """Where comparisons are written and where the latest are looked for."""
    resamples: int = 1000
    """Bootstrap resamples of the images."""
    level: float = 0.95
    """Share of the intervals that hold the true difference."""
    seed: int = 0
    """Seed of the resampling."""

    def __post_init__(self) -> None:
        for key, value in (("runs", self.runs), ("by", self.by)):
            words = isinstance(value, str) or (isinstance(value, list) and all(isinstance(x, str) for x in value))
            usable = words or (key == "by" and value is None) or value == MISSING
            require(usable, key, value, f"must be one name or a list of names: {key}=[A,B]; quote names with a comma")
        require_choice("split", self.split, ("train", "holdout", "val"))
        require(100 <= self.resamples <= 100_000, "resamples", self.resamples, "must lie in 100..100000")
        require(0.5 <= self.level < 1, "level", self.level, "must lie in [0.5, 1), e.g. 0.95")
        require(self.seed >= 0, "seed", self.seed, "must be >= 0")

    def run_names(self) -> list[str]:
        """``runs`` as a list."""
        return [self.runs] if isinstance(self.runs, str) else list(self.runs)

    def group_keys(self) -> list[str] | None:
        """``by`` as a list; None where the groups follow from the configurations."""
        if self.by is None:
            return None
        return [self.by] if isinstance(self.by, str) else list(self.by)
