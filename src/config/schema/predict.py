"""The configuration of ``python -m src.predict``."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from src.config.schema.engine import EngineConfig
from src.config.schema.rules import MISSING, require, require_choice

FORMATS = (".jsonl", ".csv")
_RULE = "must be per_class, global, none (with top_k) or a probability in [0, 1]"


@dataclass(slots=True, kw_only=True)
class PredictDataConfig:
    """How the images are read."""

    batch_size: int = 64
    """Images per step."""
    num_workers: int = -1
    """Loader processes; -1 lets the run choose."""
    on_error: str = "raise"
    """raise | skip: a broken image ends it, or stands in the output with its error instead of labels."""
    max_pixels: int = 100_000_000
    """Larger images count as broken."""

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "data.batch_size", self.batch_size, "must be >= 1")
        require(self.num_workers >= -1, "data.num_workers", self.num_workers, "must be >= 0, or -1 for automatic")
        require_choice("data.on_error", self.on_error, ("raise", "skip"))
        require(self.max_pixels >= 1, "data.max_pixels", self.max_pixels, "must be >= 1")


@dataclass(slots=True, kw_only=True)
class PredictConfig(EngineConfig):
    """Labels and scores of images without labels, by a finished run."""

    run: str = MISSING
    """Run folder, latest, or a checkpoint file (which holds classes, sizes and thresholds)."""
    input: str = MISSING
    """An image, or a folder that is searched through to the bottom."""
    output: str = MISSING
    """FILE.jsonl (labels, score of every class) or FILE.csv (the same, one column per class)."""
    thresholds: Any = "per_class"
    """per_class | global: the run's fitted ones; a number in [0, 1]; none: top_k alone decides."""
    top_k: int = 0
    """At most this many labels per image, the highest scores; with thresholds=none exactly this many; 0: no limit."""
    calibrated: bool = False
    """Write scores corrected by the run's calibration.json; decisions stay those of the fitted thresholds."""
    checkpoint: str = "best"
    """best | last, of a run folder."""
    device: str = "auto"
    """auto | cpu | cuda."""
    output_dir: str = "outputs"
    """Where run=latest looks."""
    data: PredictDataConfig = field(default_factory=PredictDataConfig)

    def __post_init__(self) -> None:
        super(PredictConfig, self).__post_init__()
        known = self.output == MISSING or PurePath(self.output).suffix.lower() in FORMATS
        require(known, "output", self.output, "must end in .jsonl or .csv")
        number = isinstance(self.thresholds, int | float) and not isinstance(self.thresholds, bool)
        usable = 0 <= self.thresholds <= 1 if number else self.thresholds in ("per_class", "global", "none", None)
        require(usable, "thresholds", self.thresholds, _RULE)
        decides = self.thresholds not in ("none", None) or self.top_k > 0
        require(decides, "thresholds", self.thresholds, "nothing decides then; add top_k=3, or thresholds=per_class")
        require(self.top_k >= 0, "top_k", self.top_k, "must be >= 0")
        require_choice("checkpoint", self.checkpoint, ("best", "last"))
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
