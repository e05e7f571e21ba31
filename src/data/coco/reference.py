"""The same tables by pycocotools, the reference reader: slow, and without a word on what is wrong with a file."""

import contextlib
import io
from pathlib import Path
from typing import Any

from src.data.coco.decoder import AnnotationRecord, CategoryRecord, ImageRecord
from src.data.errors import DataError

_TABLES = ("images", "annotations", "categories")


class ReferenceDocument:
    """What pycocotools makes of an instances json; as ``decoder.Document`` to those who read tables."""

    def __init__(self, path: Path, coco: Any) -> None:
        self.path = path
        self._coco = coco

    def tables(self) -> tuple[list[ImageRecord], list[AnnotationRecord], list[CategoryRecord]]:
        """Images, annotations and categories, in the order of pycocotools' own tables.

        Raises:
            DataError: ids that come twice, of which pycocotools keeps the last without a word.
        """
        found = (self._coco.imgs, self._coco.anns, self._coco.cats)
        twice = [name for name, kept in zip(_TABLES, found, strict=True) if len(kept) < len(self._coco.dataset[name])]
        if twice:
            raise DataError(
                f"{self.path}: not usable: duplicate ids in {', '.join(twice)}; data.reader=msgspec names them"
            )
        images, annotations, categories = (list(kept.values()) for kept in found)
        return (
            [ImageRecord(**_chosen(ImageRecord, image)) for image in images],
            [AnnotationRecord(**_chosen(AnnotationRecord, annotation)) for annotation in annotations],
            [CategoryRecord(**_chosen(CategoryRecord, category)) for category in categories],
        )

    def box_areas(self) -> list[float]:
        """Width times height of every annotation's ``bbox``, 0 without one."""
        boxes = (annotation.get("bbox") or (0.0, 0.0, 0.0, 0.0) for annotation in self._coco.anns.values())
        return [width * height for _, _, width, height in boxes]


def read_reference(path: Path) -> ReferenceDocument:
    """Read an instances json with pycocotools, without its prints.

    Raises:
        DataError: pycocotools cannot read it; the other reader says where and why.
    """
    from pycocotools.coco import COCO

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(path)
        absent = [name for name in _TABLES if name not in coco.dataset]
    except (ValueError, KeyError, AssertionError) as error:
        raise DataError(f"{path}: pycocotools cannot read it ({error}); data.reader=msgspec says where") from error
    if absent:
        raise DataError(f"{path}: not an instances file: no {', '.join(absent)}")
    return ReferenceDocument(path, coco)


def _chosen(record: type[Any], row: dict[str, Any]) -> dict[str, Any]:
    """The values of a row that a record has fields for."""
    return {name: row[name] for name in record.__struct_fields__ if name in row}
