"""The images of one split, wherever they lie, and how train becomes train and holdout: a function of the seed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.config.schema.data import DataConfig
from src.config.schema.training import DebugConfig
from src.data.coco.index import CocoIndex
from src.data.holdout import holdout_split
from src.data.order import ByShard
from src.data.tar.frames import TarFrames

_LIMIT_STREAM, _OVERFIT_STREAM, _PERMUTE_STREAM, CALIBRATION_STREAM = 2, 3, 4, 5
"""Keep random choices that share the run's seed apart (order and augmentation have streams of their own)."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images and targets of one split: rows int64 [N] of ``index``, targets uint8 [N, C]."""

    index: CocoIndex
    image_dir: Path
    rows: NDArray[np.int64]
    targets: NDArray[np.uint8]
    tars: TarFrames | None = None
    """Where the originals are, if not in ``image_dir``."""

    def take(self, chosen: NDArray[np.int64]) -> "Split":
        """The images at positions ``chosen``."""
        return replace(self, rows=self.rows[chosen], targets=self.targets[chosen])

    def some(self, wanted: int, *, seed: int, stream: int) -> "Split":
        """Up to ``wanted`` images, drawn by (seed, stream), in their order."""
        return self.take(np.sort(_random(seed, stream).permutation(len(self.rows))[:wanted]))

    def keeping(self, folder: Path) -> "Split":
        """The same; images of remote shards are kept in ``folder`` once they have been read."""
        return replace(self, tars=self.tars.keeping(folder)) if self.tars else self

    def by_shard(self, *, lag: int) -> ByShard | None:
        """How an epoch goes through the shards, if there are any; see ``TarFrames``."""
        return self.tars.by_shard(self.rows, lag=lag) if self.tars else None

    def path_of(self, image_id: int) -> Path:
        """File of an image by COCO's number; the number must be in the index."""
        return self.image_dir / self.index.file_name(int(np.searchsorted(self.index.image_ids, image_id)))


def split_train(whole: Split, data: DataConfig, debug: DebugConfig, *, seed: int, kept: Path) -> dict[str, Split]:
    """Train, and holdout unless it is 0 or train is to be overfitted; limit and permutation come after.

    Args:
        whole: all images of train that the selection left.
        data: holdout and limit.
        debug: overfitting and permuted targets.
        seed: run seed.
        kept: where images of the holdout stay that come from remote shards.
    """
    overfit, limit = debug.overfit_images, data.limit
    splits = {"train": whole}
    if overfit:
        splits["train"] = whole.some(overfit, seed=seed, stream=_OVERFIT_STREAM)
    elif data.holdout > 0:
        rows, held = holdout_split(whole.targets, fraction=data.holdout, seed=seed)
        splits = {"train": whole.take(rows), "holdout": whole.take(held).keeping(kept)}
    if limit and not overfit:
        splits["train"] = splits["train"].some(limit, seed=seed, stream=_LIMIT_STREAM)
    if debug.permute_targets:
        random = _random(seed, _PERMUTE_STREAM)
        splits = {
            name: replace(part, targets=random.permutation(part.targets, axis=0)) for name, part in splits.items()
        }
    return splits


def fingerprint(labels: Sequence[str], data: DataConfig, debug: DebugConfig, *, seed: int) -> str:
    """What decides which images and targets a split holds, as 16 hexadecimal digits.

    Args:
        labels: fingerprints of the label files of train and val.
        data: what is selected of them.
        debug: overfitting and permuted targets.
        seed: run seed.
    """
    parts: list[Any] = [*labels, data.classes, data.empty, data.crowd, data.min_area, data.holdout, data.limit]
    parts += [debug.overfit_images, debug.permute_targets, seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _random(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))
