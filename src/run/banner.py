"""What a run says of itself before it starts."""

from pathlib import Path

import torch

from src.analysis.imbalance import summarize
from src.analysis.sampling import summarize_sampling
from src.config.schema.data import DataConfig
from src.config.schema.model import MobileNetV2Config, ModelConfig, TimmConfig
from src.config.schema.root import TrainConfig
from src.data.datamodule import MultiLabelDataModule
from src.models.figures import model_figures
from src.process import idle_cores
from src.run.hardware import Hardware
from src.task import MultiLabelTask

COCO_CLASSES = 80


def banner(
    config: TrainConfig,
    data: MultiLabelDataModule,
    task: MultiLabelTask,
    hardware: Hardware,
    folder: Path,
    batch_reason: str = "",
    *,
    resumed: str,
) -> str:
    """Data, imbalance, model, device and choice, a line each; ``resumed`` says where, or nothing."""
    summary = summarize(data.train_targets, data.class_names)
    figures = model_figures(task.model.network, config.data.image_size)
    model, loss = type(config.model).__name__.removesuffix("Config"), type(config.loss).__name__.removesuffix("Config")
    found = {key.replace("_", " "): value for key, value in data.counts().items() if value or key.endswith("images")}
    # Per class the head has one weight per feature and a bias.
    other = (COCO_CLASSES - data.num_classes) * (task.model.head.in_features + 1)
    with_coco = f" ({figures.parameters + other:,} with COCO's {COCO_CLASSES} classes)" if other else ""
    gmac = f"{figures.gmac:.2f}" if figures.gmac >= 1 else f"{figures.gmac:.3f}"
    counts = ", ".join(f"{value:,} {key}" for key, value in found.items())
    source = "built-in sample" if data.source.is_sample else data.source.name
    monitor = {
        "holdout": "holdout of train; val is read once, at the end",
        "val": "val itself (data.holdout=0): its scores are optimistic",
        "train": "the training images themselves (debug.overfit_images)",
    }[data.monitor_split]
    lines = {
        "run": f"{folder}{f' (resumed {resumed})' if resumed else ''}",
        "data": f"{source}: {counts}",
        "imbalance": f"{data.num_classes} classes, {summary.labels_mean:.2f} labels per image, most : least frequent "
        f"{summary.imbalance_ratio:.0f}:1, {summary.neg_pos:.1f} negatives per positive"
        f"{f', {len(summary.absent_classes)} classes absent' if summary.absent_classes else ''}",
        "sampler": _sampler(config.data, data),
        "cache": data.cache_note,
        "model": f"{model} {_start(config.model)}, {figures.parameters:,} parameters{with_coco}, "
        f"{figures.leaf_modules} leaf modules, {figures.activation_mb:.2f} MB activations, "
        f"{gmac} GMAC at {config.data.image_size} px",
        "loss": f"{loss}, {type(config.optimizer).__name__.removesuffix('Config')} lr {config.optimizer.lr:g}, "
        f"{type(config.scheduler).__name__.removesuffix('Config')}, {_epochs(config)}, "
        f"batch {config.data.batch_size}{f' ({batch_reason})' if batch_reason else ''}",
        "device": f"{hardware.device_name}, {hardware.precision} ({hardware.reason}), "
        f"{_loaders(hardware)}, torch {torch.__version__}{_crowded(hardware) if resumed else ''}",
        "choice": f"{config.objective} on {monitor}",
    }
    return "\n".join(f"{key:<10} {value}" for key, value in lines.items() if value)


def _loaders(hardware: Hardware) -> str:
    return f"{hardware.num_workers} loader process{'es' * (hardware.num_workers != 1)}"


def _start(model: ModelConfig) -> str:
    """What the weights are at first."""
    if isinstance(model, MobileNetV2Config):
        return f"from {model.weights}" if model.weights else "from scratch"
    return "from timm's weights" if isinstance(model, TimmConfig) and model.pretrained else "from scratch"


def _crowded(hardware: Hardware) -> str:
    """A resumed run keeps its threads for its bits; beside a busy neighbour that may take ten times as long."""
    idle = idle_cores() if hardware.device == "cpu" else None
    if idle is None or idle >= hardware.threads:
        return ""
    return f"; {idle} free just now: trainer.num_threads={idle} is faster, with other last bits"


def _epochs(config: TrainConfig) -> str:
    count = config.trainer.max_epochs
    return f"{count} epoch{'s' * (count != 1)}"


def _sampler(config: DataConfig, data: MultiLabelDataModule) -> str:
    """What the sampler makes of the imbalance; empty for ``uniform``."""
    if config.sampler == "uniform":
        return ""
    found = summarize_sampling(data.train_targets, data.train_draws)
    threshold = f" (threshold {config.repeat_threshold:g})" if config.sampler == "repeat_factor" else ""
    return (
        f"{config.sampler}{threshold}: {found.visits:,} visits an epoch, most : least frequent "
        f"{found.imbalance_before:.0f}:1 -> {found.imbalance_after:.0f}:1, {found.neg_pos_before:.1f} -> "
        f"{found.neg_pos_after:.1f} negatives per positive"
        f"{'; no class is that rare: the same as uniform' if found.most_visits <= 1 else ''}"
    )
