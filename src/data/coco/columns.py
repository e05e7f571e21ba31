"""The tables of an instances json as columns, each taken out of its records once."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from src.data.coco.decoder import AnnotationRecord, CategoryRecord, ImageRecord, column

_WIDEST = 64
"""Numbers between the lowest and the highest id, for each id, that a table of positions may span."""
_LOW_HALF = 2**32 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Ids, and where they point; images and categories in ascending order of their id.

    Attributes:
        image_ids: int64 [N], ascending.
        category_ids: int64 [C], ascending.
        ann_image: int32 [A], as in the file: position of each image id in image_ids, -1 where it is not there.
        ann_class: int32 [A], the same for category ids.
    """

    image_ids: NDArray[np.int64]
    category_ids: NDArray[np.int64]
    ann_image: NDArray[np.int32]
    ann_class: NDArray[np.int32]

    @classmethod
    def of(
        cls, images: list[ImageRecord], annotations: list[AnnotationRecord], categories: list[CategoryRecord]
    ) -> Self:
        """Columns of three tables."""
        image_ids, category_ids = np.sort(column(images, "id", np.int64)), np.sort(column(categories, "id", np.int64))
        return cls(
            image_ids,
            category_ids,
            positions(column(annotations, "image_id", np.int64), image_ids),
            positions(column(annotations, "category_id", np.int64), category_ids),
        )

    def by_image(self) -> NDArray[np.int64]:
        """Annotations in the order of their images, those of an image as in the file; int64 [A].

        Image and place in one integer: sorting whole numbers takes a quarter of a stable argsort.
        """
        places = np.arange(len(self.ann_image), dtype=np.int64)
        return np.sort((self.ann_image.astype(np.int64) << 32) | places) & _LOW_HALF


def positions(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where each id stands in ``known``, -1 where it does not.

    Args:
        ids: int64 [A].
        known: int64 [N], ascending.

    Returns:
        int32 [A].
    """
    if not len(known) or not len(ids):
        return np.full(len(ids), -1, np.int32)
    first, last = int(known[0]), int(known[-1])
    if last - first > _WIDEST * len(known):
        found = np.searchsorted(known, ids).clip(max=len(known) - 1)
        return np.where(known[found] == ids, found, -1).astype(np.int32)
    table = np.full(last - first + 2, -1, np.int32)  # the last entry is for ids outside
    table[known - first] = np.arange(len(known), dtype=np.int32)
    if int(ids.min()) < first or int(ids.max()) > last:
        ids = np.where((ids < first) | (ids > last), last + 1, ids)
    return table[ids - first]
