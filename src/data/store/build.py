"""Writing a store: in parallel, what is missing or stale only, each shard whole or not at all."""

import hashlib
import logging
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.coco.index import CocoIndex
from src.data.errors import DataError, ImageError
from src.data.frames import FileFrames
from src.data.store.shards import (
    JPEG_QUALITY,
    DamagedShardError,
    ShardPlan,
    ShardRecord,
    StoreSpec,
    plan_shards,
    read_record,
    write_record,
)
from src.locks import locked

JPEG_BYTES_PER_PIXEL = 0.6
"""More than photographs take at quality 90 (COCO: about 0.4), for the space that must be free."""
_LONG_SIDE = 1.6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What building a store has done.

    Attributes:
        images: images of the store, broken ones included.
        shards: shards of the store.
        written: shards written now; the others were there.
        mended: of these, shards that were damaged.
        bytes: size of the store.
        broken: images that cannot be used, with the row of the index.
    """

    images: int
    shards: int
    written: int
    mended: int
    bytes: int
    broken: dict[int, str]


def build_store(
    index: CocoIndex,
    image_dir: Path,
    folder: Path,
    spec: StoreSpec,
    *,
    workers: int,
    on_images: Callable[[int, int], None] | None = None,
    verify: bool = False,
) -> StoreReport:
    """Write the shards that are missing, stale or damaged; broken images are noted, not fatal.

    Threads, not processes: nine tenths of the work are OpenCV's, which lets other threads run meanwhile. A second
    process that builds the same store waits for the first and finds its shards.

    Args:
        index: the images.
        image_dir: folder of the images.
        folder: of the store.
        spec: what to store.
        workers: threads.
        on_images: told how many of the images to write are done, and of how many.
        verify: compare the digests of the shards that are there.

    Raises:
        DataError: not enough free space, or the folder cannot be written.
    """
    plans = plan_shards(index, image_dir, folder, spec)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            _remove_leftovers(folder, plans)
            missing, damaged = _examine(plans, verify=verify)
            _require_space(folder, sum(plan.stop - plan.start for plan in missing), spec)
            frames = FileFrames(index, image_dir, max_pixels=spec.max_pixels)
            _write_all(missing, frames, spec, workers, on_images)
    except OSError as error:
        raise DataError(f"{folder}: the cache cannot be written: {error.strerror}; cache_dir=PATH") from error
    records = [record for record in map(read_record, plans) if record is not None]
    return StoreReport(
        images=len(index),
        shards=len(plans),
        written=len(missing),
        mended=damaged,
        bytes=sum(record.size for record in records),
        broken={
            plan.start + position: reason
            for plan, record in zip(plans, records, strict=True)
            for position, reason in record.broken.items()
        },
    )


def missing_shards(plans: Sequence[ShardPlan]) -> int:
    """How many shards are missing, stale or damaged."""
    return len(_examine(plans, verify=False)[0])


def store_bytes(images: int, spec: StoreSpec) -> int:
    """Size of a store of so many images: of ``raw`` exact, of ``jpeg`` generously estimated."""
    if spec.kind == "raw":
        return images * spec.side**2 * 3
    return round(images * spec.side**2 * _LONG_SIDE * JPEG_BYTES_PER_PIXEL)


def encode(pixels_HWC: NDArray[np.uint8], spec: StoreSpec) -> NDArray[np.uint8]:
    """The bytes that stand for an image, uint8 [n]; shrinking averages over areas, JPEGs are never enlarged."""
    height, width = pixels_HWC.shape[:2]
    if spec.kind == "raw":
        shrinks = max(width, height) > spec.side
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        if (width, height) != (spec.side, spec.side):
            pixels_HWC = np.asarray(cv2.resize(pixels_HWC, (spec.side, spec.side), interpolation=how), np.uint8)
        return np.ascontiguousarray(pixels_HWC).reshape(-1)
    scale = spec.side / min(width, height)
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        pixels_HWC = np.asarray(cv2.resize(pixels_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR), options)
    return np.asarray(jpeg, np.uint8).reshape(-1)


def _examine(plans: Sequence[ShardPlan], *, verify: bool) -> tuple[list[ShardPlan], int]:
    """Shards to write, and how many of them are damaged."""
    missing, damaged = [], 0
    for plan in plans:
        try:
            if read_record(plan, verify=verify) is None:
                missing.append(plan)
        except DamagedShardError as error:
            _log.warning("%s", error)
            missing.append(plan)
            damaged += 1
    return missing, damaged


def _write_all(
    plans: Sequence[ShardPlan],
    frames: FileFrames,
    spec: StoreSpec,
    workers: int,
    on_images: Callable[[int, int], None] | None,
) -> None:
    total, done, stop = sum(plan.stop - plan.start for plan in plans), 0, threading.Event()
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        jobs = {pool.submit(_write_shard, plan, frames, spec, stop): plan for plan in plans}
        try:
            for job in as_completed(jobs):
                job.result()
                done += jobs[job].stop - jobs[job].start
                if on_images:
                    on_images(done, total)
        except BaseException:
            stop.set()  # the pool waits for its threads: let them end soon
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _write_shard(plan: ShardPlan, frames: FileFrames, spec: StoreSpec, stop: threading.Event) -> None:
    temporary = plan.path.with_name(f".{plan.path.name}-{uuid.uuid4().hex}")
    record = ShardRecord(stamp=plan.stamp, sha256="", size=0, mtime_ns=0, offsets=[0], sizes=[], broken={})
    digest = hashlib.sha256()
    try:
        with temporary.open("xb") as file:
            for position, at in enumerate(range(plan.start, plan.stop)):
                if stop.is_set():
                    return
                try:
                    pixels, _ = frames.read(at)
                    size, content = (pixels.shape[1], pixels.shape[0]), encode(pixels, spec)
                except ImageError as error:
                    record.broken[position] = error.reason
                    size, content = (0, 0), np.empty(0, np.uint8)
                file.write(content.data)
                digest.update(content.data)
                record.offsets.append(record.offsets[-1] + content.nbytes)
                record.sizes.append(size)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(plan.path)
    finally:
        temporary.unlink(missing_ok=True)
    status = plan.path.stat()
    record.sha256, record.size, record.mtime_ns = digest.hexdigest(), status.st_size, status.st_mtime_ns
    write_record(plan, record)


def _require_space(folder: Path, images: int, spec: StoreSpec) -> None:
    need, free = store_bytes(images, spec), shutil.disk_usage(folder).free
    if need > free:
        raise DataError(
            f"{folder}: {images:,} images as {spec.kind} at {spec.side} px take {need / 1e9:.2f} GB, "
            f"but {free / 1e9:.2f} GB are free; data.cache=jpeg or a smaller data.cache_side take less, "
            "cache_dir=PATH is another disk, data.cache=none does without"
        )


def _remove_leftovers(folder: Path, plans: Sequence[ShardPlan]) -> None:
    """Parts of shards that a killed process left, and shards beyond the last one of a shorter label file."""
    for path in folder.glob(".?????.bin-*"):
        path.unlink(missing_ok=True)
    wanted = {path for plan in plans for path in (plan.path, plan.record_path)}
    for path in [*folder.glob("?????.bin"), *folder.glob("?????.json")]:
        if path not in wanted:
            path.unlink(missing_ok=True)
