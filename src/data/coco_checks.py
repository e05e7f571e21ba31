"""What must hold in an instances file before its labels are believed; every problem is found, not only the first.

pycocotools accepts all of these silently; duplicate annotation ids even give wrong labels.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from src.data.coco_json import AnnotationRecord, CategoryRecord, ImageRecord, column

_SHOWN = 10
_PLAIN = re.compile(r"\w[\w-]*\.\w+", re.ASCII)
"""Names as COCO's, beyond doubt; taking a path apart costs a hundred times as much."""


def find_problems(
    images: Sequence[ImageRecord], annotations: Sequence[AnnotationRecord], categories: Sequence[CategoryRecord]
) -> list[str]:
    """Contradictions within an instances file, one line each; empty where it is sound."""
    image_ids, category_ids = column(images, "id"), column(categories, "id")
    annotation_ids, ann_image = column(annotations, "id"), column(annotations, "image_id")
    ann_category = column(annotations, "category_id")
    names = [category.name for category in categories]
    unsafe = [f"{image.file_name!r} (image {image.id})" for image in images if not _stays_inside(image.file_name)]

    found = [
        _problem("duplicate image ids", _duplicates(image_ids)),
        _problem("duplicate annotation ids", _duplicates(annotation_ids)),
        _problem("duplicate category ids", _duplicates(category_ids)),
        _problem("duplicate category names", sorted({repr(name) for name in names if names.count(name) > 1})),
        _problem("unknown category ids", _strangers(annotation_ids, "category_id", ann_category, category_ids)),
        _problem("unknown image ids", _strangers(annotation_ids, "image_id", ann_image, image_ids)),
        _problem("file_name leaves the image folder", unsafe),
    ]
    empty = [f"{key} is empty" for key, rows in (("images", images), ("categories", categories)) if not rows]
    return empty + [line for line in found if line]


def find_missing(names: Sequence[str], image_dir: Path) -> list[str]:
    """Paths of the images that do not lie in ``image_dir``, in the order of ``names``.

    Lists each folder once: 118,287 single look-ups take minutes on a network file system.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in listings:
            listings[folder] = _listing(image_dir / folder)
        if base not in listings[folder]:
            missing.append(str(image_dir / name))
    return missing


def shown(items: Sequence[str], separator: str = ", ") -> str:
    """The first ten items, and how many more there are."""
    more = f"{separator}and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return separator.join(items[:_SHOWN]) + more


def _listing(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _problem(what: str, examples: Sequence[str]) -> str:
    return f"{what} ({len(examples):,}): {shown(examples)}" if examples else ""


def _duplicates(ids: NDArray[np.int64]) -> list[str]:
    values, counts = np.unique(ids, return_counts=True)
    return _texts(values[counts > 1])


def _strangers(
    annotation_ids: NDArray[np.int64], key: str, used: NDArray[np.int64], known: NDArray[np.int64]
) -> list[str]:
    strange = ~np.isin(used, known)
    pairs = zip(annotation_ids[strange].tolist(), used[strange].tolist(), strict=True)
    return [f"annotation {annotation_id} has {key} {value}" for annotation_id, value in pairs]


def _texts(values: Iterable[int]) -> list[str]:
    return [str(value) for value in values]


def _stays_inside(name: str) -> bool:
    """Whether a file name can only mean a file below the image folder, on any system."""
    if _PLAIN.fullmatch(name):
        return True
    if not name or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.name)
