"""What must hold in an instances file before its labels are believed; every problem is found, not only the first.

pycocotools accepts all of these silently; duplicate annotation ids even give wrong labels.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from src.data.coco.columns import Columns
from src.data.coco.decoder import AnnotationRecord, CategoryRecord, ImageRecord, column

_SHOWN = 10
_PLAIN = re.compile(r"(?:\w[\w-]*+\.\w++\n)*+", re.ASCII)
"""Lines of names as COCO's, beyond doubt; taking a path apart costs a hundred times as much."""


def find_problems(
    images: Sequence[ImageRecord],
    annotations: Sequence[AnnotationRecord],
    categories: Sequence[CategoryRecord],
    columns: Columns,
) -> list[str]:
    """Contradictions within an instances file, one line each; empty where it is sound."""
    names = [category.name for category in categories]

    found = [
        _problem("duplicate image ids", _duplicates(columns.image_ids)),
        _problem("duplicate annotation ids", _duplicates(np.sort(column(annotations, "id", np.int64)))),
        _problem("duplicate category ids", _duplicates(columns.category_ids)),
        _problem("duplicate category names", sorted({repr(name) for name in names if names.count(name) > 1})),
        _problem("unknown category ids", _strangers(annotations, "category_id", columns.ann_class)),
        _problem("unknown image ids", _strangers(annotations, "image_id", columns.ann_image)),
        _problem("file_name leaves the image folder", _unsafe(images)),
    ]
    empty = [f"{key} is empty" for key, rows in (("images", images), ("categories", categories)) if not rows]
    return empty + [line for line in found if line]


def find_missing(names: Sequence[str], image_dir: Path) -> list[str]:
    """Paths of the images that do not lie in ``image_dir``, in the order of ``names``.

    Lists each folder once: 118,287 single look-ups take minutes on a network file system.
    """
    folders = {name.rpartition("/")[0] for name in names if "/" in name}
    there = _listing(image_dir).union(
        *({f"{folder}/{base}" for base in _listing(image_dir / folder)} for folder in folders)
    )
    return [str(image_dir / name) for name in names if name not in there]


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


def _duplicates(ascending: NDArray[np.int64]) -> list[str]:
    repeated = ascending[1:][ascending[1:] == ascending[:-1]]
    return [str(value) for value in np.unique(repeated).tolist()]


def _strangers(annotations: Sequence[AnnotationRecord], key: str, found: NDArray[np.int32]) -> list[str]:
    strange = (annotations[place] for place in np.flatnonzero(found < 0).tolist())
    return [f"annotation {annotation.id} has {key} {getattr(annotation, key)}" for annotation in strange]


def _unsafe(images: Sequence[ImageRecord]) -> list[str]:
    """Images whose names may leave the folder; the usual names are looked at in one piece."""
    lines = "".join([f"{image.file_name}\n" for image in images])
    if _PLAIN.fullmatch(lines) and lines.count("\n") == len(images):
        return []
    return [f"{image.file_name!r} (image {image.id})" for image in images if not _stays_inside(image.file_name)]


def _stays_inside(name: str) -> bool:
    """Whether a file name can only mean a file below the image folder, on any system."""
    if not name or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.name)
