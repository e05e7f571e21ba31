"""Whether to train from prepared images, and from which: what ``data.cache=auto`` decides by, and what it says."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from src.config.schema.data import AugmentConfig, DataConfig
from src.data.store.build import store_bytes
from src.data.store.shards import StoreSpec
from src.process import available_memory

MARGIN = 8 / 7
"""A crop shows less than the whole image: some more pixels than the network takes. 256 for 224, as is usual."""
DISK_SHARE = 0.5
"""The largest part of the free disk that ``auto`` takes."""


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """What a run reads its training images from, and why."""

    kind: str
    """none | jpeg | raw | device."""
    reason: str


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes that are free: on the disk of the cache, and in memory."""

    disk: int
    memory: int


def cache_side(data: DataConfig, augment: AugmentConfig) -> int:
    """Side of prepared images, pixels.

    Without crops the network sees whole images: at ``image_size`` the cache holds exactly what it would be given. With
    crops, 8/7 of that, rounded up to a multiple of 32.
    """
    if data.cache_side:
        return data.cache_side
    return data.image_size if augment.crop_min_scale == 1 else math.ceil(data.image_size * MARGIN / 32) * 32


def store_spec(data: DataConfig, augment: AugmentConfig) -> StoreSpec | None:
    """The store that a configuration reads; None where it reads the files."""
    if data.cache in ("none", "auto"):
        return None
    kind = "jpeg" if data.cache == "jpeg" else "raw"
    return StoreSpec(kind=kind, side=cache_side(data, augment), max_pixels=data.max_pixels)


def choose_cache(*, images: int, side: int, epochs: int, room: Room, ready: frozenset[str], limit: int) -> CacheChoice:
    """What ``auto`` stands for.

    Args:
        images: images of the training labels.
        side: of prepared images, pixels.
        epochs: of the run; writing a cache takes about as long as reading the files once.
        room: free disk and memory.
        ready: kinds that are already prepared for these images.
        limit: ``data.limit``; 0 is all images.
    """
    raw, jpeg = (store_bytes(images, StoreSpec(kind, side, 0)) for kind in ("raw", "jpeg"))
    fits = raw <= room.memory
    usable = [kind for kind in ("raw", "jpeg") if kind in ready and (kind == "jpeg" or fits)]
    if usable:
        return CacheChoice(usable[0], "prepared before")
    if 0 < limit < images / 2:
        return CacheChoice("none", f"data.limit={limit:,} uses less than half of {images:,} images")
    if epochs < 3:
        return CacheChoice("none", f"{epochs} epochs do not earn back the writing")
    if fits and raw <= DISK_SHARE * room.disk:
        return CacheChoice("raw", f"{_gb(raw)} fit into {_gb(room.memory)} of memory and {_gb(room.disk)} of disk")
    limiting = f"{_gb(room.memory)} of memory" if not fits else f"half of {_gb(room.disk)} of disk"
    if jpeg <= DISK_SHARE * room.disk:
        return CacheChoice("jpeg", f"raw takes {_gb(raw)}, more than {limiting}")
    return CacheChoice("none", f"even jpeg takes {_gb(jpeg)}, more than half of {_gb(room.disk)} of disk")


def room_for(folder: Path) -> Room:
    """What is free on the disk that holds ``folder``, which need not exist yet, and in memory."""
    place = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    return Room(disk=shutil.disk_usage(place).free, memory=available_memory())


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
