"""The loop around the network: length, precision, weight averaging, logging, debugging."""

from dataclasses import dataclass

from src.config.schema.rules import require, require_choice

COMPILES = ("off", "default", "reduce-overhead", "max-autotune-no-cudagraphs")
_SWITCHES = {"false": "off", "true": "default"}
"""What ``trainer.compile`` was once, and what YAML makes of a bare ``off``."""


@dataclass(slots=True, kw_only=True)
class TrainerConfig:
    """How long and on what."""

    max_epochs: int = 0
    """Passes over train; 0 takes 10 for the built-in sample, 15 for photographs."""
    device: str = "auto"
    """auto | cpu | cuda."""
    devices: int = 1
    """Processes (GPUs) that train together with DDP."""
    precision: str = "auto"
    """auto (fp16 on CUDA, bf16 on a CPU that has it, else fp32) | fp32 | bf16 | fp16 (CUDA only)."""
    gradient_clip: float = 0.0
    """Largest gradient norm; 0 does not clip."""
    accumulate: int = 1
    """Batches per optimizer step."""
    num_threads: int = 0
    """CPU threads of torch; 0 takes the cores that are idle when the run starts (a resumed run keeps its number)."""
    compile: str = "off"
    """off | default | reduce-overhead (CUDA graphs) | max-autotune-no-cudagraphs: see docs/performance.md."""
    val_curve: bool = False
    """Also score val after each epoch, for curves; choice never uses it. Otherwise val is read once, at the end."""

    def __post_init__(self) -> None:
        require(self.max_epochs >= 0, "trainer.max_epochs", self.max_epochs, "must be >= 1; 0 chooses by the data")
        require(self.devices >= 1, "trainer.devices", self.devices, "must be >= 1")
        require(self.gradient_clip >= 0, "trainer.gradient_clip", self.gradient_clip, "must be >= 0; 0 does not clip")
        require(self.accumulate >= 1, "trainer.accumulate", self.accumulate, "must be >= 1")
        require(self.num_threads >= 0, "trainer.num_threads", self.num_threads, "must be >= 0")
        require_choice("trainer.device", self.device, ("auto", "cpu", "cuda"))
        self.compile = _SWITCHES.get(str(self.compile).lower(), self.compile)
        require_choice("trainer.compile", self.compile, COMPILES)
        require_choice("trainer.precision", self.precision, ("auto", "fp32", "bf16", "fp16"))
        usable = not (self.precision == "fp16" and self.device == "cpu")
        require(usable, "trainer.precision", self.precision, "fp16 needs CUDA; use trainer.precision=bf16 on a CPU")


@dataclass(slots=True, kw_only=True)
class CallbacksConfig:
    """What watches the loop."""

    ema: bool = True
    """Keep an exponential moving average of the weights and evaluate with it; both are saved."""
    ema_decay: float = 0.82
    """Share of the average that survives one epoch (the decay per step is its root)."""
    best_margin: float = 1.0
    """best.ckpt: the latest epoch within so many standard errors of the highest objective; 0 takes the highest."""
    early_stopping: int = 0
    """Stop after this many epochs without a better objective; 0 never."""
    checkpoint_steps: int = 0
    """Also write last.ckpt every n optimizer steps; 0 only at the end of an epoch."""
    progress: str = "auto"
    """auto (rich in a terminal, plain lines elsewhere) | rich | plain | none."""

    def __post_init__(self) -> None:
        require(0 <= self.ema_decay < 1, "callbacks.ema_decay", self.ema_decay, "must lie in [0, 1)")
        require(self.best_margin >= 0, "callbacks.best_margin", self.best_margin, "must be >= 0")
        require(
            self.early_stopping >= 0, "callbacks.early_stopping", self.early_stopping, "must be >= 0; 0 never stops"
        )
        require(self.checkpoint_steps >= 0, "callbacks.checkpoint_steps", self.checkpoint_steps, "must be >= 0")
        require_choice("callbacks.progress", self.progress, ("auto", "rich", "plain", "none"))


@dataclass(slots=True, kw_only=True)
class LoggerConfig:
    """Where metrics go besides metrics.jsonl and metrics.csv, which are always written."""

    tensorboard: bool = False
    """TensorBoard event files in the run folder; needs the extra 'tensorboard'."""
    wandb: bool = False
    """Weights & Biases; needs the extra 'wandb'."""
    mlflow: bool = False
    """MLflow; needs the extra 'mlflow'."""
    project: str = "multilabel-coco"
    """Project (W&B) or experiment (MLflow) name."""


@dataclass(slots=True, kw_only=True)
class DebugConfig:
    """Switches that find out whether a run can be trusted."""

    overfit_images: int = 0
    """Train and score on the same n training images; 0 off."""
    permute_targets: bool = False
    """Give every training image the targets of another: what is learnt then is the label prior alone."""
    max_steps: int = 0
    """End an epoch after n training batches, and evaluation after n; 0 off."""

    def __post_init__(self) -> None:
        require(self.overfit_images >= 0, "debug.overfit_images", self.overfit_images, "must be >= 0; 0 is off")
        require(self.max_steps >= 0, "debug.max_steps", self.max_steps, "must be >= 0; 0 is off")
