"""From annotations to multi-hot targets: which classes, which boxes count as presence, which images stay."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.config.schema.rules import nearest
from src.data.coco.index import CocoIndex
from src.data.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The images and labels that take part.

    Attributes:
        rows: int64 [K], ascending rows of the index.
        targets: uint8 [K, C], multi-hot.
        class_names: the C classes kept, in category order.
        dropped_empty: images left out because nothing in them counts.
        ignored_crowd: crowd annotations of kept classes that did not count.
        ignored_small: further annotations of kept classes that were too small.
    """

    rows: NDArray[np.int64]
    targets: NDArray[np.uint8]
    class_names: tuple[str, ...]
    dropped_empty: int
    ignored_crowd: int
    ignored_small: int


def select_targets(index: CocoIndex, *, classes: Sequence[str], empty: str, crowd: str, min_area: float) -> Selection:
    """Multi-hot targets of the images that take part.

    Args:
        index: the indexed instances json.
        classes: class names to keep; empty keeps all.
        empty: ``keep`` or ``drop`` images in which no annotation counts.
        crowd: ``keep`` or ``drop`` crowd annotations as evidence of presence.
        min_area: smallest annotation area that counts, square pixels.

    Raises:
        DataError: a class that the index does not have, or no image left.
    """
    kept = _kept_classes(index.class_names, classes)
    column = np.full(len(index.class_names), -1, dtype=np.int64)
    column[kept] = np.arange(len(kept))
    image_row = np.repeat(np.arange(len(index)), np.diff(index.ann_offsets))

    wanted = column[index.ann_class] >= 0
    is_crowd = wanted & index.ann_crowd if crowd == "drop" else np.zeros_like(wanted)
    is_small = wanted & ~is_crowd & (index.ann_area < min_area)
    counts = wanted & ~is_crowd & ~is_small

    targets = np.zeros((len(index), len(kept)), dtype=np.uint8)
    targets[image_row[counts], column[index.ann_class[counts]]] = 1
    rows = np.flatnonzero(targets.any(axis=1)) if empty == "drop" else np.arange(len(index))
    if not len(rows):
        raise DataError("no image left: data.empty=drop with these data.classes, data.crowd and data.min_area")
    return Selection(
        rows=rows.astype(np.int64),
        targets=targets[rows],
        class_names=tuple(index.class_names[i] for i in kept),
        dropped_empty=len(index) - len(rows),
        ignored_crowd=int(is_crowd.sum()),
        ignored_small=int(is_small.sum()),
    )


def _kept_classes(known: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Class indices to keep, ascending."""
    problems = []
    for name in wanted:
        if name not in known:
            near = nearest(name, known)
            hint = f"; did you mean {near!r}?" if near else f"; known are {', '.join(known)}"
            problems.append(f"data.classes: no class {name!r}{hint}")
    if problems:
        raise DataError("\n".join(problems))
    return [i for i, name in enumerate(known) if not wanted or name in wanted]
