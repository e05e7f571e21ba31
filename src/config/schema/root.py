"""The whole configuration of each entry point."""

from dataclasses import dataclass, field
from pathlib import Path

from src.config.schema.data import AugmentConfig, DataConfig
from src.config.schema.engine import EngineConfig
from src.config.schema.loss import LossConfig
from src.config.schema.model import ModelConfig
from src.config.schema.optim import OptimizerConfig, SchedulerConfig
from src.config.schema.rules import MISSING, require, require_choice
from src.config.schema.thresholds import ThresholdsConfig
from src.config.schema.training import CallbacksConfig, DebugConfig, LoggerConfig, TrainerConfig

OBJECTIVES = ("map", "f1_micro", "f1_macro", "f1_micro_tuned", "f1_macro_tuned", "cf1", "of1")


def _check_name(name: str) -> None:
    plain = bool(name) and all(c.isalnum() or c in "-_." for c in name) and not name.startswith(".")
    require(plain, "name", repr(name), "letters, digits, '-', '_' and '.' only: it names a folder")


@dataclass(slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    name: str = "run"
    """Folder under outputs/ that collects runs of this kind; experiments set it."""
    seed: int = 0
    """Seed of initialisation, sample order, augmentation, dropout and splits."""
    objective: str = "map"
    """Metric that picks the best epoch, ends a run early and is returned to sweeps, on the holdout."""
    resume: str | None = None
    """Run folder, or latest: continue that run in its own folder."""
    output_dir: str = "outputs"
    """Where runs are written."""
    cache_dir: str = "data/cache"
    """Where indexes and the built-in sample are cached."""
    report: bool = True
    """Write report/index.html at the end."""
    data: DataConfig = MISSING
    augment: AugmentConfig = MISSING
    model: ModelConfig = MISSING
    loss: LossConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    scheduler: SchedulerConfig = MISSING
    trainer: TrainerConfig = MISSING
    callbacks: CallbacksConfig = MISSING
    logger: LoggerConfig = MISSING
    debug: DebugConfig = MISSING
    thresholds: ThresholdsConfig = field(default_factory=ThresholdsConfig)

    def __post_init__(self) -> None:
        _check_name(self.name)
        require(0 <= self.seed < 2**31, "seed", self.seed, "must lie in 0..2^31-1")
        require_choice("objective", self.objective, OBJECTIVES)
        thaws = self.model.freeze > 0 and self.model.unfreeze_epoch >= 0
        alone = not (thaws and self.trainer.devices > 1)
        rule = "DDP cannot take in parameters that thaw later; trainer.devices=1, or -1 to keep them frozen"
        require(alone, "model.unfreeze_epoch", self.model.unfreeze_epoch, rule)


@dataclass(frozen=True, slots=True)
class Job:
    """One run about to start."""

    config: TrainConfig
    folder: Path
    overrides: list[str]
    """The command line."""
    resumed: bool


@dataclass(slots=True, kw_only=True)
class EvaluateDataConfig:
    """What evaluation may change of the run's own data."""

    root: str | None = None
    """Another folder in COCO's layout; null takes the run's."""
    annotations: str | None = None
    """Labels, relative to root; null takes the split's own."""
    images: str | None = None
    """Image folder, relative to root; null takes the split's own."""
    batch_size: int = 64
    """Images per step."""
    num_workers: int = -1
    """Loader processes; -1 lets the run choose."""
    on_error: str | None = None
    """raise | skip a broken image; null takes the run's own."""

    def __post_init__(self) -> None:
        for name in ("annotations", "images"):
            value = getattr(self, name)
            usable = value is None or self.root is not None
            require(usable, f"data.{name}", value, "is relative to data.root; add data.root=DIR")
        require(self.batch_size >= 1, "data.batch_size", self.batch_size, "must be >= 1")
        require(self.num_workers >= -1, "data.num_workers", self.num_workers, "must be >= 0, or -1 for automatic")
        if self.on_error is not None:
            require_choice("data.on_error", self.on_error, ("raise", "skip"))


@dataclass(slots=True, kw_only=True)
class EvaluateConfig(EngineConfig):
    """Score a finished run on a split of any COCO folder."""

    run: str = MISSING
    """Run folder, latest, or a sweep's job folder."""
    split: str = "val"
    """train | holdout | val."""
    checkpoint: str = "best"
    """best | last."""
    device: str = "auto"
    """auto | cpu | cuda."""
    output: str | None = None
    """Folder for evaluation.json and predictions; null writes into the run."""
    output_dir: str = "outputs"
    """Where run=latest looks."""
    cache_dir: str | None = None
    """Where indexes are cached; null takes the run's."""
    fit: str | None = None
    """Fit thresholds anew on the run's predictions of this split (holdout | val | train); null takes the run's own."""
    calibrate: str = "none"
    """none | temperature | platt (per class): also report calibrated scores; fitted on the run's holdout."""
    resamples: int = 1000
    """Bootstrap resamples of the images, for the intervals."""
    report: bool = True
    """Write report/index.html."""
    data: EvaluateDataConfig = field(default_factory=EvaluateDataConfig)
    thresholds: ThresholdsConfig = field(default_factory=ThresholdsConfig)

    def __post_init__(self) -> None:
        super(EvaluateConfig, self).__post_init__()
        require_choice("split", self.split, ("train", "holdout", "val"))
        require_choice("checkpoint", self.checkpoint, ("best", "last"))
        require_choice("device", self.device, ("auto", "cpu", "cuda"))
        require_choice("calibrate", self.calibrate, ("none", "temperature", "platt"))
        require(self.resamples >= 20, "resamples", self.resamples, "must be >= 20: an interval is made of percentiles")
        if self.fit is not None:
            require_choice("fit", self.fit, ("train", "holdout", "val"))
        unused = self.fit is None and self.thresholds != ThresholdsConfig()
        rule = "the run's own thresholds are used unless new ones are asked for; add fit=holdout"
        require(not unused, "thresholds", "other than the run's", rule)


@dataclass(slots=True, kw_only=True)
class PrepareConfig:
    """Verify, index and cache a data set."""

    verify: bool = False
    """Compare the digest of every shard that is there, also of those that look untouched."""
    cache_dir: str = "data/cache"
    """Where indexes, prepared images and the built-in sample are cached."""
    data: DataConfig = MISSING
    augment: AugmentConfig = MISSING


@dataclass(slots=True, kw_only=True)
class DescribeConfig:
    """Report on a data set: imbalance, label health, image health."""

    split: str = "train"
    """train | val."""
    images: int = 2000
    """Images to read for the image-health part (seeded choice); 0 skips it, -1 reads all."""
    darkest: int = 5
    """How many of the darkest images to name."""
    output: str | None = None
    """Also write the report as JSON here."""
    cache_dir: str = "data/cache"
    """Where indexes and the built-in sample are cached."""
    data: DataConfig = MISSING

    def __post_init__(self) -> None:
        require_choice("split", self.split, ("train", "val"))
        require(self.images >= -1, "images", self.images, "must be >= -1; 0 skips the images, -1 reads all")
        require(self.darkest >= 0, "darkest", self.darkest, "must be >= 0")
