"""Prepared raw squares to augmented batches, against FFCV (Leclerc et al., CVPR 2023), where ``ffcv`` is installed.

FFCV does not install from the registry alone: it is compiled against OpenCV and libturbojpeg.
"""

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.findings import Finding, per_item
from benchmarks.measuring import clocked, interleave
from benchmarks.rows.images import BATCH, CROP, RAW_SIDE, SIDE, STRENGTH, consume, our_batches, prepare, prepare_raw
from benchmarks.settings import Settings
from src.data.images.reading import read_image

PEER = "FFCV, the same from its raw 256 x 256"


def measure_ffcv(settings: Settings) -> list[Finding]:
    """Random resized crop and flip, with and without brightness and contrast, in memory, uint8 out, one thread each."""
    root = prepare(settings)
    prepare_raw(root, settings)
    paths = sorted((root / "train2017").glob("*.jpg"))
    beton = settings.folder / f"{root.name}-{RAW_SIDE}.beton"
    _write(paths, beton)
    wanted = (("crop, flip, brightness, contrast", STRENGTH, None), ("crop, flip", 0.0, 1.5))
    findings = []
    for what, strength, target in wanted:
        ours = our_batches(root, settings, crop=CROP, cache="raw", strength=strength)
        peers = _ffcv_batches(beton, strength)
        turns = interleave(
            partial(clocked, partial(consume, ours)), partial(clocked, partial(consume, peers)),
            repeats=settings.repeats, warmup=2,
        )  # fmt: skip
        measured = per_item(turns, settings.clock, items=len(paths), unit="image")
        rule = "ratio" if target else "shown"
        findings.append(Finding(row="ffcv", what=f"raw cache: {what}", peer=PEER, rule=rule, target=target, **measured))
    return findings


class _Squares:
    """What FFCV's writer asks for: pixels and a number."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, at: int) -> tuple[NDArray[np.uint8], int]:
        pixels = read_image(self.paths[at], expected=None, max_pixels=10**8)
        squared = cv2.resize(pixels, (RAW_SIDE, RAW_SIDE), interpolation=cv2.INTER_AREA)
        return np.asarray(squared, np.uint8), at


def _write(paths: list[Path], beton: Path) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    DatasetWriter(str(beton), fields, num_workers=1).from_indexed_dataset(_Squares(paths))


def _ffcv_batches(beton: Path, strength: float) -> Any:
    from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomBrightness, RandomContrast, RandomHorizontalFlip, ToTensor, ToTorchImage

    jitter = [RandomBrightness(strength, 1.0), RandomContrast(strength, 1.0)] if strength else []
    decoder = RandomResizedCropRGBImageDecoder((SIDE, SIDE), scale=(CROP, 1.0))
    return Loader(
        str(beton), batch_size=BATCH, num_workers=1, order=OrderOption.RANDOM, os_cache=True, seed=0,
        pipelines={
            "image": [decoder, RandomHorizontalFlip(), *jitter, ToTensor(), ToTorchImage()],
            "label": [IntDecoder(), ToTensor()],
        },
    )  # fmt: skip
