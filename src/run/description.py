"""The imbalance, label-health and image-health report of a data set."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.analysis.imbalance import class_table, summarize
from src.analysis.labels import RARE, conditional, cooccurrence, label_health
from src.analysis.sampling import sampling_table, summarize_sampling
from src.config.schema.data import DataConfig
from src.config.schema.errors import ConfigError
from src.config.schema.root import DescribeConfig
from src.data.coco.index import load_index
from src.data.images.health import ImageHealth, image_health
from src.data.sampler import expected_draws
from src.data.source import beyond_limit, locate
from src.data.targets import Selection, select_targets
from src.models.preprocess import IMAGENET_MEAN, IMAGENET_STD
from src.report.describe import print_description
from src.runfolder import replacing

PAIRS_SHOWN = 8


def describe(config: DescribeConfig) -> dict[str, Any]:
    """Print the report, and write it as JSON where asked to.

    Raises:
        DataError: the data cannot be found or read.
    """
    cache_dir = Path(config.cache_dir)
    source = locate(config.data, cache_dir=cache_dir)
    annotations, image_dir = {
        "train": (source.train_annotations, source.train_images),
        "val": (source.val_annotations, source.val_images),
    }[config.split]
    data = config.data
    in_shards = bool(data.shards) and config.split == "train"
    if in_shards and config.images:
        raise ConfigError(
            "images: the images of train lie in data.shards and are not looked at; images=0, or split=val"
        )
    files = None if in_shards else image_dir
    index = load_index(annotations, image_dir=files, cache_dir=cache_dir, reader=data.reader)
    chosen = select_targets(index, classes=data.classes, empty=data.empty, crowd=data.crowd, min_area=data.min_area)
    health: ImageHealth | None = None
    if config.images:
        count = len(index) if config.images < 0 else config.images
        health = image_health(
            index, image_dir, images=count, seed=0, darkest=config.darkest, max_pixels=data.max_pixels,
            mean=IMAGENET_MEAN, std=IMAGENET_STD,
        )  # fmt: skip
    table = class_table(chosen.targets, chosen.class_names)
    content = {
        "annotations": str(annotations),
        "split": config.split,
        "builtin_sample": source.is_sample,
        "note": beyond_limit(data, config.split),
        "summary": asdict(summarize(chosen.targets, chosen.class_names)),
        "dropped_empty": chosen.dropped_empty,
        "ignored_crowd": chosen.ignored_crowd,
        "ignored_small": chosen.ignored_small,
        "classes": table.to_dict(orient="records"),
        "sampler": sampler_effect(data, chosen) if config.split == "train" else None,
        "pairs": strongest_pairs(chosen.targets, table),
        "labels": label_health(chosen.targets, chosen.class_names),
        "images": _plain_health(health) if health else None,
    }
    print_description(content)
    if config.output:
        path = Path(config.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, "w") as file:
            json.dump(_without_infinities(content), file, indent=2, default=float, allow_nan=False)
    return content


def sampler_effect(data: DataConfig, chosen: Selection) -> dict[str, Any] | None:
    """What ``data.sampler`` makes of the class counts; None for ``uniform``, which leaves them as they are."""
    if data.sampler == "uniform":
        return None
    draws_N = expected_draws(chosen.targets, sampler=data.sampler, repeat_threshold=data.repeat_threshold)
    return {
        "name": data.sampler,
        "repeat_threshold": data.repeat_threshold if data.sampler == "repeat_factor" else None,
        "summary": asdict(summarize_sampling(chosen.targets, draws_N)),
        "classes": sampling_table(chosen.targets, draws_N, chosen.class_names).to_dict(orient="records"),
    }


def strongest_pairs(targets_NC: np.ndarray, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Pairs (given, then) with the largest lift P(then | given) / P(then), where both have ten images or more."""
    share_CC = np.nan_to_num(conditional(cooccurrence(targets_NC)))
    frequency_C = table["frequency"].to_numpy()
    lift_CC = np.divide(share_CC, frequency_C, out=np.zeros_like(share_CC), where=frequency_C > 0)
    np.fill_diagonal(lift_CC, 0.0)
    rare_C = table["count"].to_numpy() < RARE
    lift_CC[rare_C] = 0.0
    lift_CC[:, rare_C] = 0.0
    names = list(table["class_name"])
    best = np.argsort(lift_CC, axis=None)[::-1][:PAIRS_SHOWN]
    rows = [np.unravel_index(position, lift_CC.shape) for position in best]
    return [
        {"given": names[i], "then": names[j], "probability": float(share_CC[i, j]), "lift": float(lift_CC[i, j])}
        for i, j in rows
        if lift_CC[i, j] > 1
    ]


def _without_infinities(value: Any) -> Any:
    """JSON has no infinity and no NaN (ratios where a class is absent): null stands for them."""
    if isinstance(value, Mapping):
        return {key: _without_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinities(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain_health(health: ImageHealth) -> dict[str, Any]:
    return {
        "total": health.total,
        "checked": health.checked,
        "widths": asdict(health.widths),
        "heights": asdict(health.heights),
        "kinds": dict(health.kinds),
        "rotated": health.rotated,
        "brightness": asdict(health.brightness),
        "normalized": asdict(health.normalized),
        "darkest": [{"path": str(image.path), "brightness": image.brightness} for image in health.darkest],
        "broken": [{"path": str(error.path), "reason": error.reason} for error in health.broken],
    }
