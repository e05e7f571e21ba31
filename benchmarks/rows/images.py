"""From files to augmented batches, on one core and in one process: what a loader process does all day."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.findings import Finding, per_item
from benchmarks.measuring import clocked, interleave
from benchmarks.photos import ensure_layout
from benchmarks.settings import Settings

PEER = "PIL + torchvision transforms"
BATCH, SIDE = 32, 224
STRENGTH = 0.2
"""Of brightness and contrast."""


def measure_originals(settings: Settings) -> list[Finding]:
    """Random resized crop, flip, brightness and contrast; ours ends in uint8, since the network normalises."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    batches = 1 if settings.small else 6
    root = ensure_layout(settings, train=BATCH * batches, val=16)
    loader, reference = _our_batches(root, settings), _reference_batches(root)
    normalise = _normaliser()
    found = []
    for what, ours in (
        ("original JPEG to augmented batch", partial(_consume, loader)),
        ("the same, normalised to float32", partial(_consume, loader, normalise)),
    ):
        turns = interleave(
            lambda work=ours: clocked(work),  # type: ignore[misc]
            lambda: clocked(partial(_consume, reference)),
            repeats=settings.repeats,
            warmup=1,
        )
        rule = {"rule": "ratio", "target": 2.4} if not found else {}
        measured = per_item(turns, settings.clock, items=BATCH * batches, unit="image")
        found.append(Finding(row="originals", what=what, peer=PEER, **measured, **rule))
    return found


def _consume(batches: Iterable[Any], then: Any = None) -> None:
    for batch in batches:
        if then is not None:
            then(batch["image"])


def _normaliser() -> Any:
    from src.models.preprocess import Normalize

    return Normalize()


def _our_batches(root: Path, settings: Settings) -> Iterable[Any]:
    from src.config.schema.data import AugmentConfig, CocoConfig
    from src.config.schema.training import DebugConfig
    from src.data.datamodule import MultiLabelDataModule

    data = MultiLabelDataModule(
        CocoConfig(root=str(root), image_size=SIDE, batch_size=BATCH, holdout=0.0),
        AugmentConfig(crop_min_scale=0.08, brightness=STRENGTH, contrast=STRENGTH),
        DebugConfig(),
        seed=0,
        cache_dir=settings.folder / "cache",
        num_workers=0,
    )
    data.setup("fit")
    return data.train_dataloader()


def _reference_batches(root: Path) -> Iterable[Any]:
    return torch.utils.data.DataLoader(
        _Reference(sorted((root / "train2017").glob("*.jpg"))), batch_size=BATCH, shuffle=True
    )


class _Reference(torch.utils.data.Dataset[Any]):
    """As torchvision's reference scripts read ImageNet."""

    def __init__(self, paths: list[Path]) -> None:
        from torchvision import transforms

        self.paths = paths
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(SIDE, scale=(0.08, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(brightness=STRENGTH, contrast=STRENGTH),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), index
