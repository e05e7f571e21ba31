"""From a job to its parts: values left open are resolved, then data, model, loss and task are put together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.analysis.decisions import by_threshold, count_decisions, f1_macro, f1_micro
from src.analysis.imbalance import groups
from src.analysis.sampling import expected_counts
from src.analysis.standard_error import standard_error
from src.analysis.thresholds import DEFAULT_SHRINK, fit_thresholds
from src.config.schema.data import AutoConfig, CocoConfig, DataConfig, SampleConfig
from src.config.schema.errors import ConfigError
from src.config.schema.model import ModelConfig
from src.config.schema.root import TrainConfig
from src.config.schema.variants import variant_name
from src.data.datamodule import MultiLabelDataModule
from src.data.source import locate
from src.losses.build import build_loss
from src.models.build import build_model
from src.models.classifier import Classifier
from src.run.hardware import Hardware
from src.task import MultiLabelTask, TaskInfo

SAMPLE_SIZE, SAMPLE_EPOCHS = 96, 10
PHOTO_SIZE, PHOTO_EPOCHS = 224, 15


def resolve(config: TrainConfig) -> None:
    """Fill in, in place, what the data decides: which data ``auto`` is, image size and epochs."""
    is_sample = locate(config.data, cache_dir=Path(config.cache_dir)).is_sample
    if isinstance(config.data, AutoConfig):
        config.data = _concrete(config.data, is_sample)
    resolve_data(config.data, is_sample=is_sample)
    if not config.trainer.max_epochs:
        config.trainer.max_epochs = SAMPLE_EPOCHS if is_sample else PHOTO_EPOCHS


def resolve_data(data: DataConfig, *, is_sample: bool) -> None:
    """Fill in the image size, in place."""
    if not data.image_size:
        data.image_size = SAMPLE_SIZE if is_sample else PHOTO_SIZE


def _concrete(data: AutoConfig, is_sample: bool) -> DataConfig:
    """What ``data=auto`` turned out to be, so that the run's configuration says it for good."""
    target = SampleConfig if is_sample else CocoConfig
    shared = DataConfig if is_sample else CocoConfig
    return target(**{field.name: getattr(data, field.name) for field in fields(shared)})


def build_data(config: TrainConfig, hardware: Hardware, *, cache_note: str = "") -> MultiLabelDataModule:
    """The DataModule, set up; ``cache_note`` is what it will say of where its pixels come from."""
    data = MultiLabelDataModule(
        config.data,
        config.augment,
        config.debug,
        seed=config.seed,
        cache_dir=Path(config.cache_dir),
        num_workers=hardware.num_workers,
        pin_memory=hardware.device == "cuda",
        val_curve=config.trainer.val_curve,
        cache_note=cache_note,
    )
    data.setup("fit")
    return data


def build_task(config: TrainConfig, data: MultiLabelDataModule) -> MultiLabelTask:
    """Model, loss and task for the data at hand, initialised from ``config.seed``."""
    _require_two_values(config, data)
    torch.manual_seed(config.seed)
    counts_C = data.train_targets.sum(axis=0, dtype=np.int64)
    # Prior and weights are those of what the network is shown; the groups stay the data's, alike for every sampler.
    shown_C = np.rint(expected_counts(data.train_targets, data.train_draws)).astype(np.int64)
    num_shown = data.images_per_epoch
    model = build_model(config.model, num_classes=data.num_classes, class_frequency=shown_C / num_shown)
    loss = build_loss(config.loss, class_counts=shown_C, num_images=num_shown)
    info = TaskInfo(
        class_names=tuple(data.class_names),
        frequency_groups_C=groups(counts_C),
        monitor_split=data.monitor_split,
        seed=config.seed,
        stamp=stamp(config, data),
    )
    return MultiLabelTask(
        model,
        loss,
        info,
        model_cfg=config.model,
        optimizer_cfg=config.optimizer,
        scheduler_cfg=config.scheduler,
        tuned=lambda scores_NC, targets_NC: tuned_f1(
            scores_NC, targets_NC, class_names=data.class_names, objective=config.objective
        ),
        objective=config.objective,
    )


def _require_two_values(config: TrainConfig, data: MultiLabelDataModule) -> None:
    """Batch norm divides by the deviation of a channel, which one value has not."""
    images, side = min(config.data.batch_size, data.images_per_epoch), config.data.image_size
    if images == 1 and side <= getattr(config.model, "output_stride", side):
        raise ConfigError(
            f"one image of {side} px in a batch leaves batch norm a single value per channel; at least 2 images "
            "(data.batch_size, data.limit), or a larger data.image_size"
        )


def stamp(config: TrainConfig, data: MultiLabelDataModule) -> dict[str, Any]:
    """What a checkpoint must say of its model to be used without the run folder; plain values only."""
    return {
        "class_names": list(data.class_names),
        "image_size": config.data.image_size,
        "resize": config.data.resize,
        "model": {"variant": variant_name(config.model), **asdict(config.model)},
    }


def restore_model(model_cfg: ModelConfig, weights: Mapping[str, torch.Tensor], num_classes: int) -> Classifier:
    """A model with the weights of a checkpoint's ``state_dict``."""
    own = {key.removeprefix("model."): value for key, value in weights.items() if key.startswith("model.")}
    model = build_model(without_start_weights(model_cfg), num_classes=num_classes)
    model.load_state_dict(own)
    return model


def without_start_weights(model_cfg: ModelConfig) -> ModelConfig:
    """The same network, not asking for files or downloads that the checkpoint makes needless."""
    changes = {"weights": None, "pretrained": False}
    values = {name: changes.get(name, value) for name, value in asdict(model_cfg).items()}
    return type(model_cfg)(**values)


def tuned_f1(
    scores_NC: NDArray[np.float32], targets_NC: NDArray[np.uint8], *, class_names: Sequence[str], objective: str
) -> dict[str, float]:
    """Micro-F1 at the best global threshold and macro-F1 at per-class ones, fitted on these very scores.

    And under ``<objective>_se`` the objective's standard error, over images, by which epochs are told apart.
    """
    thresholds = fit_thresholds(scores_NC, targets_NC, class_names=class_names, shrink=DEFAULT_SHRINK)
    cuts = (thresholds.global_, thresholds.per_class)
    micro, macro = (count_decisions(by_threshold(scores_NC, cut), targets_NC) for cut in cuts)
    return {
        "f1_micro_tuned": f1_micro(micro),
        "f1_macro_tuned": f1_macro(macro),
        f"{objective}_se": standard_error(scores_NC, targets_NC, cuts, objective=objective),
    }
