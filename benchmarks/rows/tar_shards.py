"""From local tar shards to augmented batches, on one core: beside files, and beside webdataset's own reader."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.findings import Finding, per_item
from benchmarks.measuring import clocked, interleave
from benchmarks.rows.images import BATCH, SQUASH, consume, our_batches, prepare
from benchmarks.settings import Settings

SHARDS = 6
PIXELS = 10**8


def measure_tar_shards(settings: Settings) -> list[Finding]:
    """Whole images and flips; then reading and decoding alone, everything in the page cache."""
    root = prepare(settings)
    tars = _ensure_tars(root)
    whole = partial(our_batches, root, settings, crop=SQUASH, strength=0.0)
    files, shards = whole(), whole(shards=f"{tars}/*.tar")
    frames = shards.dataset._frames
    return [
        _compare("tar shard to augmented batch", "the same from files", settings, shards, files, target=0.05),
        _compare("read and decode from tar, any order", "webdataset, in order", settings,
                 _Again(partial(_read, frames, len(shards.dataset))), _Again(partial(_streamed, tars))),
    ]  # fmt: skip


def _compare(
    what: str, peer: str, settings: Settings, ours: Iterable[Any], peers: Iterable[Any], *, target: float | None = None
) -> Finding:
    sides = [partial(clocked, partial(consume, side)) for side in (ours, peers)]
    turns = interleave(*sides, repeats=settings.repeats, warmup=1)
    images = BATCH * (1 if settings.small else 6)
    measured = per_item(turns, settings.clock, items=images, unit="image")
    rule = "shown" if target is None else "overhead"
    return Finding(row="tar-shards", what=what, peer=peer, rule=rule, target=target, **measured)


class _Again:
    """What a function yields, from the beginning each time."""

    def __init__(self, begin: Any) -> None:
        self._begin = begin

    def __iter__(self) -> Iterator[Any]:
        return iter(self._begin())


def _ensure_tars(root: Path) -> Path:
    from webdataset import TarWriter

    folder = root / "tars"
    images = sorted((root / "train2017").iterdir())
    if not folder.is_dir():
        building = root / ".tars.part"
        building.mkdir(exist_ok=True)
        for number in range(SHARDS):
            with TarWriter(str(building / f"train-{number}.tar")) as tar:
                for image in images[number::SHARDS]:
                    tar.write({"__key__": image.stem, "jpg": image.read_bytes()})
        building.replace(folder)
    return folder


def _read(frames: Any, images: int) -> Iterator[Any]:
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    return (frames.read(at) for at in order.tolist())


def _streamed(tars: Path) -> Iterator[Any]:
    from webdataset import WebDataset

    from src.data.images.reading import check, decode

    stream = WebDataset([str(path) for path in sorted(tars.iterdir())], shardshuffle=False)
    for entry in stream:
        name = Path(entry["__key__"])
        check(entry["jpg"], name, expected=None, max_pixels=PIXELS)
        yield decode(entry["jpg"], name)
