"""Positions of ids and the order of annotations, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.coco.checks import _stays_inside, _unsafe
from src.data.coco.columns import Columns, positions
from src.data.coco.decoder import AnnotationRecord, CategoryRecord, ImageRecord

IDS = st.one_of(st.integers(-5, 40), st.sampled_from([-(2**63), 2**63 - 1, 2**40]))
NAMES = st.one_of(
    st.sampled_from(
        ["0001.jpg", "a-b.png", "../x.jpg", "/x.jpg", "a.b\nc.d", "a.jpg\n", "d/e.jpg", "", "C:x", "ä.jpg", "a"]
    ),
    st.text(max_size=6),
)


@given(ids=st.lists(IDS), known=st.sets(IDS))
def test_positions__are_those_of_a_loop(ids: list[int], known: set[int]) -> None:
    ascending = sorted(known)
    found = positions(np.array(ids, np.int64), np.array(ascending, np.int64))
    assert found.dtype == np.int32
    assert found.tolist() == [ascending.index(one) if one in known else -1 for one in ids]


@given(st.lists(st.integers(1, 9), max_size=60))
def test_by_image__is_the_stable_order(image_ids: list[int]) -> None:
    images = [ImageRecord(id=number, file_name="x.jpg") for number in (7, 3, 9, 1, 2, 4, 5, 6, 8)]
    annotations = [AnnotationRecord(id=i, image_id=number, category_id=1) for i, number in enumerate(image_ids)]
    columns = Columns.of(images, annotations, [CategoryRecord(id=1, name="one")])
    assert columns.image_ids.tolist() == list(range(1, 10))
    assert columns.by_image().tolist() == sorted(range(len(image_ids)), key=lambda place: image_ids[place])


@given(st.lists(NAMES, max_size=5))
def test_unsafe__names_in_one_piece_are_judged_as_one_by_one(names: list[str]) -> None:
    images = [ImageRecord(id=number, file_name=name) for number, name in enumerate(names)]
    expected = [f"{name!r} (image {number})" for number, name in enumerate(names) if not _stays_inside(name)]
    assert _unsafe(images) == expected


@pytest.mark.parametrize("name", ["..", "../a.jpg", "/a.jpg", "C:a.jpg", "a\\b.jpg", "", "a\0.jpg"])
def test_unsafe__a_bad_name_among_plain_ones_is_found(name: str) -> None:
    images = [ImageRecord(id=1, file_name="000000000001.jpg"), ImageRecord(id=2, file_name=name)]
    assert _unsafe(images) == [f"{name!r} (image 2)"]
