"""An instances json as flat arrays: the one form in which labels enter the project."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.data.coco import cache as coco_cache
from src.data.coco.checks import find_missing, find_problems, shown
from src.data.coco.columns import Columns
from src.data.coco.decoder import AnnotationRecord, Document, column, open_document
from src.data.coco.reference import ReferenceDocument, read_reference
from src.data.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class CocoIndex:
    """Images, annotations and classes of one instances json, images in ascending order of their id.

    Only arrays: Python lists and dicts would be copied page by page into every loader worker, because reading an
    object writes its reference count.

    Attributes:
        image_ids: int64 [N], ascending.
        widths: int32 [N], pixels; 0 where the json does not say.
        heights: int32 [N], pixels; 0 where the json does not say.
        name_bytes: uint8, the UTF-8 file names end to end.
        name_offsets: int64 [N+1], where each name begins in name_bytes.
        ann_offsets: int64 [N+1], annotations of image i are ann_offsets[i]:ann_offsets[i+1].
        ann_class: int32 [A], class_idx: rank of the category id.
        ann_area: float32 [A], square pixels.
        ann_crowd: bool [A].
        class_names: C names in order of category id.
        category_ids: int64 [C], ascending.
        fingerprint: sha256 of the json, hexadecimal.
    """

    image_ids: NDArray[np.int64]
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    name_bytes: NDArray[np.uint8]
    name_offsets: NDArray[np.int64]
    ann_offsets: NDArray[np.int64]
    ann_class: NDArray[np.int32]
    ann_area: NDArray[np.float32]
    ann_crowd: NDArray[np.bool_]
    class_names: tuple[str, ...]
    category_ids: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.image_ids)

    def file_name(self, row: int) -> str:
        """File name of image ``row``, relative to the image folder."""
        start, end = self.name_offsets[row], self.name_offsets[row + 1]
        return self.name_bytes[start:end].tobytes().decode()

    def file_names(self) -> list[str]:
        """File names of all images, in a tenth of the time that one by one takes."""
        content = self.name_bytes.tobytes()
        return [content[start:end].decode() for start, end in pairwise(self.name_offsets.tolist())]


def load_index(annotations: Path, *, image_dir: Path | None, cache_dir: Path, reader: str = "msgspec") -> CocoIndex:
    """Index of an instances json, from the cache where that is still valid.

    Args:
        annotations: an instances json in COCO's format; ``area`` defaults to the box's, ``iscrowd`` to 0.
        image_dir: folder that must hold every image; None skips that check.
        cache_dir: where the index is kept between runs, one per reader.
        reader: ``msgspec``, or ``pycocotools`` as the reference.

    Raises:
        DataError: the json or the image folder is not usable; all problems are listed at once.
    """
    with open_document(annotations) as document:
        suffix = ".index" if reader == "msgspec" else f".{reader}.index"
        path = coco_cache.cache_path(annotations, cache_dir, suffix=suffix)
        arrays = coco_cache.read(path, annotations, document.sha256)
        if arrays is None:
            status = annotations.stat()
            with ThreadPoolExecutor(1) as beside:  # hashing leaves the interpreter to the decoder
                digest = beside.submit(document.sha256)
                arrays = _build(document if reader == "msgspec" else read_reference(annotations))
                stamp = coco_cache.Stamp(status.st_size, status.st_mtime_ns, digest.result())
            arrays = {**arrays, "fingerprint": np.array(stamp.sha256)}
            coco_cache.write(path, arrays, stamp)
    index = _from_arrays(arrays)
    if image_dir is not None:
        _require_images(index, annotations, image_dir)
    return index


def _build(document: Document | ReferenceDocument) -> coco_cache.Arrays:
    """Arrays of a checked document without its fingerprint; gives the decoded objects back on return."""
    images, annotations, categories = document.tables()
    columns = Columns.of(images, annotations, categories)
    problems = find_problems(images, annotations, categories, columns)
    if problems:
        raise DataError("\n  ".join([f"{document.path}: not usable:", *problems]))

    images.sort(key=attrgetter("id"))
    categories.sort(key=attrgetter("id"))
    names = [image.file_name.encode() for image in images]
    order = columns.by_image()
    return {
        "image_ids": columns.image_ids,
        "widths": np.fromiter((image.width or 0 for image in images), np.int32, len(images)),
        "heights": np.fromiter((image.height or 0 for image in images), np.int32, len(images)),
        "name_bytes": np.frombuffer(b"".join(names), np.uint8),
        "name_offsets": _offsets(np.fromiter(map(len, names), np.int64, len(names))),
        "ann_offsets": _offsets(np.bincount(columns.ann_image, minlength=len(images))),
        "ann_class": columns.ann_class[order],
        "ann_area": _areas(document, annotations)[order],
        "ann_crowd": column(annotations, "iscrowd", np.bool_)[order],
        "class_names": np.array([category.name for category in categories]),
        "category_ids": columns.category_ids,
    }


def _from_arrays(arrays: coco_cache.Arrays) -> CocoIndex:
    fields: dict[str, Any] = dict(arrays)
    fields["class_names"] = tuple(str(name) for name in arrays["class_names"])
    fields["fingerprint"] = str(arrays["fingerprint"])
    return CocoIndex(**fields)


def _areas(document: Document | ReferenceDocument, annotations: list[AnnotationRecord]) -> NDArray[np.float32]:
    """Areas of all annotations; boxes are decoded only where some annotation needs its own."""
    areas = column(annotations, "area", np.float32)
    absent = np.isnan(areas)  # numpy's None; json has no other
    if absent.any():
        areas[absent] = np.array(document.box_areas(), np.float32)[absent]
    return areas


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _require_images(index: CocoIndex, annotations: Path, image_dir: Path) -> None:
    if not image_dir.is_dir():
        raise DataError(f"{image_dir}: no such folder; data.root=PATH names the folder that holds the images' folder")
    missing = find_missing(index.file_names(), image_dir)
    if missing:
        count = f"{len(missing):,} of the {len(index):,} images of {annotations} are missing on disk"
        ways_out = "copy them, name their folder (data.root=PATH), or take them out of the labels"
        listing = shown(missing, "\n  ")
        raise DataError(f"{count}; {ways_out}:\n  {listing}")
