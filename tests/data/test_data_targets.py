"""Which boxes count as presence, which classes and images stay."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from src.data.coco.index import CocoIndex, load_index
from src.data.errors import DataError
from src.data.targets import Selection, select_targets

COCO_REAL = os.environ.get("COCO_REAL")
CLASSES = ("person", "stop sign", "toothbrush")
DEFAULTS: dict[str, Any] = {"classes": [], "empty": "keep", "crowd": "keep", "min_area": 0.0}


def select(index: CocoIndex, **options: Any) -> Selection:
    return select_targets(index, **(DEFAULTS | options))


def make_index(boxes: list[list[tuple[int, float, bool]]]) -> CocoIndex:
    """An index with, per image, boxes of (class_idx, area, is crowd)."""
    flat = [box for image in boxes for box in image]
    counts = [len(image) for image in boxes]
    names = [f"{n}.jpg" for n in range(len(boxes))]
    return CocoIndex(
        image_ids=np.arange(len(boxes)) + 100,
        widths=np.full(len(boxes), 64, np.int32),
        heights=np.full(len(boxes), 48, np.int32),
        name_bytes=np.frombuffer("".join(names).encode(), np.uint8),
        name_offsets=np.cumsum([0, *map(len, names)]),
        ann_offsets=np.cumsum([0, *counts]),
        ann_class=np.array([c for c, _, _ in flat], np.int32),
        ann_area=np.array([area for _, area, _ in flat], np.float32),
        ann_crowd=np.array([crowd for _, _, crowd in flat], np.bool_),
        class_names=CLASSES,
        category_ids=np.array([1, 13, 90]),
        fingerprint="0" * 64,
    )


@pytest.fixture
def index() -> CocoIndex:
    return make_index(
        [
            [(2, 50.0, False), (0, 5.0, False), (2, 9.0, False)],
            [],
            [(0, 100.0, True)],
            [(1, 10.0, False), (0, 2.0, True), (0, 3.0, False)],
        ]
    )


def test_select_targets__defaults_keep_every_image_and_box(index: CocoIndex) -> None:
    selection = select(index)
    assert selection.targets.tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert selection.targets.dtype == np.uint8
    assert selection.rows.tolist() == [0, 1, 2, 3]
    assert selection.rows.dtype == np.int64
    assert selection.class_names == CLASSES
    assert (selection.dropped_empty, selection.ignored_crowd, selection.ignored_small) == (0, 0, 0)


def test_select_targets__crowd_drop_is_no_evidence(index: CocoIndex) -> None:
    selection = select(index, crowd="drop")
    assert selection.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert selection.ignored_crowd == 2


def test_select_targets__min_area_is_the_smallest_that_counts(index: CocoIndex) -> None:
    selection = select(index, min_area=10.0)
    assert selection.targets.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert selection.ignored_small == 4


def test_select_targets__a_small_crowd_is_counted_once(index: CocoIndex) -> None:
    selection = select(index, crowd="drop", min_area=10.0)
    assert (selection.ignored_crowd, selection.ignored_small) == (2, 3)


def test_select_targets__empty_drop_acts_after_the_filters(index: CocoIndex) -> None:
    selection = select(index, empty="drop", crowd="drop")
    assert selection.rows.tolist() == [0, 3]
    assert selection.targets.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert selection.dropped_empty == 2


def test_select_targets__classes_come_in_category_order(index: CocoIndex) -> None:
    selection = select(index, classes=["toothbrush", "stop sign"])
    assert selection.class_names == ("stop sign", "toothbrush")
    assert selection.targets.tolist() == [[0, 1], [0, 0], [0, 0], [1, 0]]


def test_select_targets__counts_speak_of_kept_classes_only(index: CocoIndex) -> None:
    selection = select(index, classes=["toothbrush"], crowd="drop", min_area=10.0)
    assert (selection.ignored_crowd, selection.ignored_small) == (0, 1)


def test_select_targets__unknown_class_names_the_nearest(index: CocoIndex) -> None:
    with pytest.raises(DataError) as caught:
        select(index, classes=["persn", "stopsign", "toothbrush"])
    assert str(caught.value).splitlines() == [
        "data.classes: no class 'persn'; did you mean 'person'?",
        "data.classes: no class 'stopsign'; did you mean 'stop sign'?",
    ]


def test_select_targets__unknown_class_without_a_near_one_lists_the_known(index: CocoIndex) -> None:
    with pytest.raises(DataError, match="no class 'xyzzy'; known are person, stop sign, toothbrush"):
        select(index, classes=["xyzzy"])


def test_select_targets__no_image_left_is_an_error(index: CocoIndex) -> None:
    with pytest.raises(DataError, match=r"no image left: data\.empty=drop"):
        select(index, empty="drop", min_area=1e6)
    assert not select(index, min_area=1e6).targets.any()


@pytest.mark.real
@pytest.mark.skipif(COCO_REAL is None, reason="COCO_REAL names no folder with real COCO data")
@pytest.mark.parametrize("split", ["train2017", "val2017"])
@pytest.mark.parametrize("crowd", ["keep", "drop"])
def test_select_targets__equals_pycocotools_on_real_coco(tmp_path: Path, split: str, crowd: str) -> None:
    annotations = Path(str(COCO_REAL)) / f"annotations/instances_{split}.json"
    selection = select(load_index(annotations, image_dir=None, cache_dir=tmp_path), crowd=crowd)
    coco = COCO(annotations)
    image_ids, category_ids = sorted(coco.getImgIds()), sorted(coco.getCatIds())
    expected = np.zeros((len(image_ids), len(category_ids)), np.uint8)
    for row, image_id in enumerate(image_ids):
        found = coco.getAnnIds(imgIds=image_id, iscrowd=None if crowd == "keep" else False)
        for annotation in coco.loadAnns(found):
            expected[row, category_ids.index(annotation["category_id"])] = 1
    assert np.array_equal(selection.targets, expected)


def test_select_targets__presence_not_box_count_matters(tmp_path: Path) -> None:
    annotation = {"image_id": 1, "category_id": 1, "area": 1, "bbox": [0, 0, 1, 1]}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [annotation | {"id": n} for n in range(300)],
        "categories": [{"id": 1, "name": "person"}],
    }
    path = tmp_path / "i.json"
    path.write_text(json.dumps(content))
    assert select(load_index(path, image_dir=None, cache_dir=tmp_path)).targets.tolist() == [[1]]
