"""Images prepared for training: what ``data.cache`` means for a run, and the command that prepares them beforehand."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from src.config.schema.data import AugmentConfig, DataConfig
from src.config.schema.root import PrepareConfig, TrainConfig
from src.data.coco.index import CocoIndex, load_index
from src.data.device.choice import choose_decode
from src.data.errors import ImageError
from src.data.source import Source, beyond_limit, locate
from src.data.store.build import StoreReport, build_store, missing_shards
from src.data.store.choice import CacheChoice, cache_side, choose_cache, room_for, store_spec
from src.data.store.shards import StoreSpec, plan_shards, store_folder
from src.data.tar.frames import TarFrames, open_tars
from src.report.prepare import print_preparation
from src.report.tables import console
from src.run.assembly import PHOTO_EPOCHS, resolve_data
from src.run.hardware import Hardware

LINES = 10
"""Lines of progress where there is no terminal."""


def resolve_cache(config: TrainConfig) -> str:
    """Decide ``data.cache`` and ``data.cache_side`` in place, and write what is missing of that cache.

    Returns:
        What training reads, and why, for the banner; empty where it reads the files because nobody asked otherwise.

    Raises:
        DataError: no space, or the cache cannot be written.
    """
    data, cache_dir = config.data, Path(config.cache_dir)
    if data.shards:
        return f"none: {_open_shards(data, cache_dir).describe()}"
    if data.cache == "none":
        return ""
    source = locate(data, cache_dir=cache_dir)
    index = load_index(source.train_annotations, image_dir=source.train_images, cache_dir=cache_dir, reader=data.reader)
    reason = "asked for"
    if data.cache == "auto":
        choice = _choose(data, config.augment, index, source, cache_dir, epochs=config.trainer.max_epochs)
        data.cache, reason = choice.kind, choice.reason
    spec = store_spec(data, config.augment)
    if spec is None:
        return f"none ({reason}): training reads the original files"
    data.cache_side = spec.side
    folder = store_folder(source.train_annotations, cache_dir, spec)
    report = _build(index, source, folder, spec, verify=False)
    return f"{data.cache} at {spec.side} px ({reason}), {report.bytes / 1e9:.2f} GB in {folder}"


def resolve_decode(config: TrainConfig, hardware: Hardware) -> str:
    """Decide ``data.decode`` in place, once the cache is decided.

    Returns:
        Where JPEGs are decoded and why, for the banner; empty where nobody asked for anything but the loader.

    Raises:
        DataError: ``data.decode=device`` and the augmentation or the machine does not allow it.
    """
    wish = config.data.decode
    if wish == "cpu":
        return ""
    choice = choose_decode(config.data, config.augment, hardware.device)
    config.data.decode = choice.kind
    where = hardware.device if choice.kind == "device" else "the loader"
    return f"JPEGs decoded by {where} ({choice.reason})"


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Index both label files, check that their images are there, and write the cache; print what was done.

    Raises:
        UserError: data missing or broken, or no space for the cache.
    """
    cache_dir, data = Path(config.cache_dir), config.data
    source = locate(data, cache_dir=cache_dir)
    resolve_data(data, is_sample=source.is_sample)
    rows: list[dict[str, Any]] = []
    indexes = {}
    for split, annotations, images in (
        ("train", source.train_annotations, source.train_images),
        ("val", source.val_annotations, source.val_images),
    ):
        started = time.perf_counter()
        folder = None if data.shards and split == "train" else images
        index = indexes[split] = load_index(annotations, image_dir=folder, cache_dir=cache_dir, reader=data.reader)
        note = "; ".join(filter(None, (str(annotations), beyond_limit(data, split))))
        rows.append(_row(f"index of {split}", len(index), annotations.stat().st_size, started, note))
    if data.shards:
        started = time.perf_counter()
        tars = _open_shards(data, cache_dir)
        rows.append(_row("tar shards", len(indexes["train"]), tars.total_bytes, started, tars.describe()))
    if data.cache == "auto":
        choice = _choose(data, config.augment, indexes["train"], source, cache_dir, epochs=PHOTO_EPOCHS)
        data.cache = choice.kind
        rows.append(
            {"what": "auto", "images": 0, "bytes": 0, "seconds": 0.0, "note": f"{choice.kind}: {choice.reason}"}
        )
    spec, report = store_spec(data, config.augment), None
    if spec is not None:
        started = time.perf_counter()
        folder = store_folder(source.train_annotations, cache_dir, spec)
        report = _build(indexes["train"], source, folder, spec, verify=config.verify)
        note = f"{report.written} of {report.shards} shards written, {report.mended} of them damaged before; {folder}"
        rows.append(_row(f"{spec.kind} at {spec.side} px", report.images, report.bytes, started, note))
    broken = _broken(report, indexes["train"], source)
    print_preparation(rows, [str(error) for error in broken])
    if broken and data.on_error == "raise":
        raise ImageError(
            broken[0].path, f"{broken[0].reason}; broken images: {len(broken)}; data.on_error=skip trains on"
        )
    return {"rows": rows, "broken": [str(error) for error in broken]}


def _open_shards(data: DataConfig, cache_dir: Path) -> TarFrames:
    """The shards of train, indexed where that has not been done."""
    source = locate(data, cache_dir=cache_dir)
    index = load_index(source.train_annotations, image_dir=None, cache_dir=cache_dir, reader=data.reader)
    with _progress(console(), "tar shards", "indexed") as on_shards:
        return open_tars(index, source.train_annotations, data, cache_dir=cache_dir, on_shards=on_shards)


def _row(what: str, images: int, size: int, started: float, note: str) -> dict[str, Any]:
    return {"what": what, "images": images, "bytes": size, "seconds": time.perf_counter() - started, "note": note}


def _broken(report: StoreReport | None, index: CocoIndex, source: Source) -> list[ImageError]:
    found = report.broken if report else {}
    return [ImageError(source.train_images / index.file_name(row), reason) for row, reason in sorted(found.items())]


def _choose(
    data: DataConfig, augment: AugmentConfig, index: CocoIndex, source: Source, cache_dir: Path, *, epochs: int
) -> CacheChoice:
    side = cache_side(data, augment)
    ready = set()
    for kind in ("raw", "jpeg"):
        spec = StoreSpec(kind, side, data.max_pixels)
        folder = store_folder(source.train_annotations, cache_dir, spec)
        if folder.is_dir() and not missing_shards(plan_shards(index, source.train_images, folder, spec)):
            ready.add(kind)
    return choose_cache(
        images=len(index), side=side, epochs=epochs, room=room_for(cache_dir), ready=frozenset(ready), limit=data.limit
    )


def _build(index: CocoIndex, source: Source, folder: Path, spec: StoreSpec, *, verify: bool) -> StoreReport:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _progress(console(), f"{spec.kind} at {spec.side} px") as on_images:
        return build_store(index, source.train_images, folder, spec, workers=cores, on_images=on_images, verify=verify)


@contextmanager
def _progress(shown: Console, what: str, done_to: str = "images written") -> Iterator[Callable[[int, int], None]]:
    """A bar in a terminal, a line for every tenth elsewhere; nothing where nothing is left to write."""
    if not shown.is_terminal:
        printed = 0

        def line(done: int, total: int) -> None:
            nonlocal printed
            if done * LINES // total > printed:
                printed = done * LINES // total
                shown.print(f"{what}: {done:,} of {total:,} {done_to}")

        yield line
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=shown, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
