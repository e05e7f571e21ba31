"""From files to augmented batches, on one core and in one process: what a loader process does all day."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.findings import Finding, per_item
from benchmarks.measuring import clocked, interleave, python, run_process
from benchmarks.photos import ensure_layout
from benchmarks.settings import Settings

PEER = "PIL + torchvision transforms"
BATCH, SIDE, RAW_SIDE = 32, 224, 256
STRENGTH = 0.2
"""Of brightness and contrast."""
CROP, SQUASH = 0.08, 1.0
"""Smallest share of the area that a crop keeps: as torchvision's reference scripts, and our default."""


def measure_originals(settings: Settings) -> list[Finding]:
    """Random resized crop, flip, brightness and contrast; ours ends in uint8, since the network normalises."""
    root = prepare(settings)
    wanted = (
        ("original JPEG to augmented batch", CROP, None, 2.4),
        ("the same, ours normalised to float32 too", CROP, _normaliser(), None),
        ("whole image squashed instead of cropped", SQUASH, None, None),
    )
    return [
        _compare("originals", what, settings, root, target=target, crop=crop, then=then)
        for what, crop, then, target in wanted
    ]


def measure_raw_cache(settings: Settings) -> list[Finding]:
    """The same from images prepared once, 256 x 256 uint8, memory-mapped; the peer still reads originals."""
    root = prepare(settings)
    prepare_raw(root, settings)
    wanted = (
        ("raw cache to augmented batch", None, 30.0),
        ("the same, ours normalised to float32 too", _normaliser(), None),
    )
    return [
        _compare("raw-cache", what, settings, root, target=target, crop=CROP, then=then, cache="raw")
        for what, then, target in wanted
    ]


def prepare_raw(root: Path, settings: Settings) -> None:
    """Write the raw cache of the images under ``root``."""
    words = (f"data.root={root}", "data.cache=raw", f"data.cache_side={RAW_SIDE}", f"data.image_size={SIDE}")
    run_process(python("-m", "src.prepare", "data=coco2017", *words, f"cache_dir={settings.folder / 'cache'}"))


def prepare(settings: Settings) -> Path:
    """One thread, malloc as in our loader processes (for the peer too); the folder of the images in COCO's layout."""
    from src.process import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    return ensure_layout(settings, train=BATCH * (1 if settings.small else 6), val=16)


def _compare(
    row: str,
    what: str,
    settings: Settings,
    root: Path,
    *,
    target: float | None,
    crop: float,
    then: Callable[[Any], Any] | None,
    cache: str = "none",
) -> Finding:
    ours = partial(consume, our_batches(root, settings, crop=crop, cache=cache), then)
    peers = partial(consume, _reference_batches(root, crop=crop))
    times = 10 if cache == "raw" and not settings.small else 1  # the whole set once takes 50 ms
    turns = interleave(partial(clocked, ours, times=times), partial(clocked, peers), repeats=settings.repeats, warmup=1)
    images = len(list((root / "train2017").iterdir()))
    measured = per_item(turns, settings.clock, items=images, unit="image")
    return Finding(row=row, what=what, peer=PEER, rule="ratio" if target else "shown", target=target, **measured)


def consume(batches: Iterable[Any], then: Callable[[Any], Any] | None = None) -> None:
    """Ask for every batch, and do something with its images."""
    for batch in batches:
        if then is not None:
            then(batch["image"])


def _normaliser() -> Any:
    from src.models.preprocess import Normalize

    return Normalize()


def our_batches(
    root: Path, settings: Settings, *, crop: float, cache: str = "none", strength: float = STRENGTH, shards: str = ""
) -> Any:
    """The training loader of this process."""
    from src.config.schema.data import AugmentConfig, CocoConfig
    from src.config.schema.training import DebugConfig
    from src.data.datamodule import MultiLabelDataModule

    prepared: dict[str, Any] = {} if cache == "none" else {"cache": cache, "cache_side": RAW_SIDE}
    data = MultiLabelDataModule(
        CocoConfig(root=str(root), image_size=SIDE, batch_size=BATCH, holdout=0.0, shards=shards, **prepared),
        AugmentConfig(crop_min_scale=crop, brightness=strength, contrast=strength),
        DebugConfig(),
        seed=0,
        cache_dir=settings.folder / "cache",
        num_workers=0,
    )
    data.setup("fit")
    return data.train_dataloader()


def _reference_batches(root: Path, *, crop: float) -> Iterable[Any]:
    images = _Reference(sorted((root / "train2017").glob("*.jpg")), crop)
    return torch.utils.data.DataLoader(images, batch_size=BATCH, shuffle=True)


class _Reference(torch.utils.data.Dataset[Any]):
    """As torchvision's reference scripts read ImageNet."""

    def __init__(self, paths: list[Path], crop: float) -> None:
        from torchvision import transforms

        self.paths = paths
        whole = transforms.Resize((SIDE, SIDE))
        self.transform = transforms.Compose(
            [
                whole if crop == SQUASH else transforms.RandomResizedCrop(SIDE, scale=(crop, 1.0)),
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
