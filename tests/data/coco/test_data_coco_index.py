"""The index: against pycocotools label by label, every complaint, and when the cache may be believed."""

import json
import logging
import mmap
import os
import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from src.config.schema.data import READERS
from src.data.coco import cache as coco_cache
from src.data.coco.index import CocoIndex, load_index
from src.data.errors import DataError, ImageError

COCO_REAL = os.environ.get("COCO_REAL")


def document() -> dict[str, Any]:
    """Ids out of order and with holes, several files per folder, an image without annotations, a crowd box."""
    return {
        "images": [
            {"id": 900, "file_name": "b.jpg", "width": 640, "height": 480},
            {"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": 320, "height": 200},
            {"id": 42, "file_name": "sub/é.jpg", "width": 10, "height": 20},
        ],
        "annotations": [
            {"id": 3, "image_id": 900, "category_id": 90, "bbox": [0, 0, 2, 3], "area": 5.5, "iscrowd": 0},
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 4, 5], "area": 12.0, "iscrowd": 1},
            {"id": 2, "image_id": 900, "category_id": 13, "bbox": [1, 1, 1, 1], "area": 1, "segmentation": [[1, 2]]},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 13, "name": "stop sign"}],
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def load(tmp_path: Path, content: Any) -> CocoIndex:
    return load_index(write(tmp_path / "instances.json", content), image_dir=None, cache_dir=tmp_path / "cache")


def complaint(tmp_path: Path, content: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(tmp_path, content)
    return str(caught.value)


def assert_equals_pycocotools(index: CocoIndex, annotations: Path) -> None:
    coco = COCO(annotations)
    categories = coco.loadCats(sorted(coco.getCatIds()))
    assert index.class_names == tuple(category["name"] for category in categories)
    assert index.category_ids.tolist() == [category["id"] for category in categories]
    assert index.image_ids.tolist() == sorted(coco.getImgIds())
    for row, image_id in enumerate(index.image_ids.tolist()):
        image = coco.loadImgs(image_id)[0]
        assert index.file_name(row) == image["file_name"]
        assert (index.widths[row], index.heights[row]) == (image["width"], image["height"])
        span = slice(index.ann_offsets[row], index.ann_offsets[row + 1])
        found = zip(
            index.category_ids[index.ann_class[span]].tolist(),
            index.ann_area[span].tolist(),
            index.ann_crowd[span].tolist(),
            strict=True,
        )
        expected = [
            (ann["category_id"], float(np.float32(ann["area"])), bool(ann.get("iscrowd", 0)))
            for ann in coco.loadAnns(coco.getAnnIds(imgIds=image_id))
        ]
        assert list(found) == expected


def random_document(rng: np.random.Generator) -> dict[str, Any]:
    image_ids = rng.permutation(10_000)[:60].tolist()
    category_ids = rng.permutation(90)[:12].tolist()
    annotations = [
        {
            "id": number,
            "image_id": image_ids[rng.integers(50)],
            "category_id": category_ids[rng.integers(12)],
            "area": float(rng.uniform(0, 1e5)),
            "bbox": [0, 0, 1, 1],
            "iscrowd": int(rng.integers(2)),
        }
        for number in rng.permutation(400).tolist()
    ]
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": i % 640, "height": i % 480} for i in image_ids]
    categories = [{"id": i, "name": f"class {i}"} for i in category_ids]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.mark.parametrize("seed", range(5))
def test_load_index__equals_pycocotools(tmp_path: Path, seed: int) -> None:
    content = random_document(np.random.default_rng(seed))
    assert_equals_pycocotools(load(tmp_path, content), tmp_path / "instances.json")


@pytest.mark.real
@pytest.mark.skipif(COCO_REAL is None, reason="COCO_REAL names no folder with real COCO data")
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_load_index__equals_pycocotools_on_real_coco(tmp_path: Path, split: str) -> None:
    root = Path(str(COCO_REAL))
    annotations = root / f"annotations/instances_{split}.json"
    for _ in ("built", "cached"):
        index = load_index(annotations, image_dir=root / split, cache_dir=tmp_path)
        assert_equals_pycocotools(index, annotations)


@pytest.mark.parametrize("seed", range(5))
def test_load_index__both_readers_agree_label_by_label(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "instances.json", random_document(np.random.default_rng(seed)))
    assert_same_labels(path, tmp_path)


@pytest.mark.real
@pytest.mark.skipif(not COCO_REAL, reason="COCO_REAL names no folder with real COCO data")
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_load_index__both_readers_agree_on_real_coco(tmp_path: Path, split: str) -> None:
    assert_same_labels(Path(COCO_REAL or "") / "annotations" / f"instances_{split}.json", tmp_path)


def assert_same_labels(annotations: Path, tmp_path: Path) -> None:
    """Every field; annotations of an image in the order of the file. Once more from the cache of each."""
    for _ in range(2):
        one, other = (
            load_index(annotations, image_dir=None, cache_dir=tmp_path / "both", reader=reader) for reader in READERS
        )
        assert one.fingerprint == other.fingerprint
        assert one.class_names == other.class_names
        for field in fields(CocoIndex):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)
    assert len(list((tmp_path / "both").iterdir())) == 2


def test_load_index__pycocotools_prints_nothing_and_finds_what_we_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = document()
    content["annotations"][1]["id"] = content["annotations"][0]["id"]
    path = write(tmp_path / "instances.json", content)
    with pytest.raises(DataError, match=r"duplicate ids in annotations; data\.reader=msgspec names them"):
        load_index(path, image_dir=None, cache_dir=tmp_path, reader="pycocotools")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"pycocotools cannot read it .*; data.reader=msgspec says where"):
        load_index(path, image_dir=None, cache_dir=tmp_path, reader="pycocotools")
    write(path, {"images": []})
    with pytest.raises(DataError, match="no annotations, categories"):
        load_index(path, image_dir=None, cache_dir=tmp_path, reader="pycocotools")
    assert capsys.readouterr().out == ""


def test_load_index__class_idx_is_rank_of_category_id(tmp_path: Path) -> None:
    index = load(tmp_path, document())
    assert index.class_names == ("person", "stop sign", "toothbrush")
    assert index.category_ids.tolist() == [1, 13, 90]
    assert index.image_ids.tolist() == [7, 42, 900]
    assert index.ann_offsets.tolist() == [0, 1, 1, 3]
    assert index.ann_class.tolist() == [0, 2, 1]


def test_load_index__file_names_of_any_layout(tmp_path: Path) -> None:
    index = load(tmp_path, document())
    assert [index.file_name(row) for row in range(3)] == ["COCO_train2014_000000000007.jpg", "sub/é.jpg", "b.jpg"]


def test_load_index__dtypes_survive_the_cache_and_pickling(tmp_path: Path) -> None:
    built = load(tmp_path, document())
    for other in (load(tmp_path, document()), pickle.loads(pickle.dumps(built))):
        for name in CocoIndex.__dataclass_fields__:
            a, b = getattr(built, name), getattr(other, name)
            assert type(a) is type(b)
            if isinstance(a, np.ndarray):
                assert a.dtype == b.dtype
            assert np.array_equal(a, b)
    assert (built.ann_area.dtype, built.ann_crowd.dtype, built.widths.dtype) == (np.float32, np.bool_, np.int32)
    assert {type(getattr(built, name)) for name in CocoIndex.__dataclass_fields__} == {np.ndarray, tuple, str}


def test_load_index__missing_area_and_iscrowd_come_from_the_box(tmp_path: Path) -> None:
    content = document()
    del content["annotations"][0]["area"], content["annotations"][0]["iscrowd"]
    content["annotations"][1]["area"] = None
    index = load(tmp_path, content)
    assert index.ann_area.tolist() == [20.0, 6.0, 1.0]
    assert index.ann_crowd.tolist() == [True, False, False]


def test_load_index__unknown_size_is_zero(tmp_path: Path) -> None:
    content = document()
    del content["images"][1]["width"], content["images"][1]["height"]
    index = load(tmp_path, content)
    assert (index.widths[0], index.heights[0]) == (0, 0)


# --- a json that cannot be read


def test_load_index__missing_json_says_how_to_point_to_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json: no such file; data\.root=PATH"):
        load_index(tmp_path / "nowhere.json", image_dir=None, cache_dir=tmp_path)


def test_load_index__folder_instead_of_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        load_index(tmp_path, image_dir=None, cache_dir=tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_coco_index__truncated_json_names_byte_offset(tmp_path: Path, share: float) -> None:
    text = json.dumps(document(), indent=1).encode()
    cut = text[: int(len(text) * share)]
    path = tmp_path / "cut.json"
    path.write_bytes(cut)
    line = cut.count(b"\n") + 1
    with pytest.raises(DataError, match=rf"cut\.json: truncated json: ends at byte {len(cut):,} \(line {line}\)"):
        load_index(path, image_dir=None, cache_dir=tmp_path)


def test_coco_index__malformed_json_names_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b'{"images": [],\n "annotations": [],\n "categories": [}')
    with pytest.raises(DataError, match=r"malformed json at line 3, byte 51: .*near '.*\[\}'"):
        load_index(path, image_dir=None, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"images": [{"id": 1, "file_name": "\xff.jpg"}]}', "not UTF-8"),
    ],
)
def test_coco_index__unreadable_text_is_explained(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.json: .*{reason}"):
        load_index(path, image_dir=None, cache_dir=tmp_path)


# --- a json that is something else, or contradicts itself


def test_coco_index__not_an_instances_file_names_absent_keys(tmp_path: Path) -> None:
    assert "not an instances file: no 'annotations' and no 'categories'" in complaint(tmp_path, {"images": []})
    assert "Expected `object`, got `array`" in complaint(tmp_path, [])


def test_coco_index__captions_file_is_named_with_its_place(tmp_path: Path) -> None:
    content = document() | {"annotations": [{"id": 1, "image_id": 7, "caption": "a cat"}]}
    assert "missing required field `category_id` at `annotations[0]`" in complaint(tmp_path, content)


@pytest.mark.parametrize(("key", "value"), [("id", "1"), ("id", 2**70), ("width", -1), ("width", 2**40)])
def test_coco_index__wrong_type_or_range_names_its_place(tmp_path: Path, key: str, value: object) -> None:
    content = document()
    content["images"][1][key] = value
    assert f"`images[1].{key}`" in complaint(tmp_path, content)


def test_coco_index__no_images_or_categories_is_an_error(tmp_path: Path) -> None:
    message = complaint(tmp_path, {"images": [], "annotations": [], "categories": []})
    assert "images is empty" in message
    assert "categories is empty" in message


def test_coco_index__duplicates_and_strangers_are_reported_together(tmp_path: Path) -> None:
    content = document()
    content["images"].append(content["images"][0] | {"file_name": "c.jpg"})
    content["annotations"] += [content["annotations"][0], {"id": 50, "image_id": 8, "category_id": 99}]
    content["categories"] += [{"id": 90, "name": "x"}, {"id": 91, "name": "person"}]
    lines = complaint(tmp_path, content).splitlines()
    assert lines[0].endswith("instances.json: not usable:")
    assert [line.strip() for line in lines[1:]] == [
        "duplicate image ids (1): 900",
        "duplicate annotation ids (1): 3",
        "duplicate category ids (1): 90",
        "duplicate category names (1): 'person'",
        "unknown category ids (1): annotation 50 has category_id 99",
        "unknown image ids (1): annotation 50 has image_id 8",
    ]


def test_coco_index__long_lists_are_cut_with_their_count(tmp_path: Path) -> None:
    content = document()
    content["annotations"] = [{"id": n, "image_id": 7, "category_id": 5} for n in range(1200)]
    message = complaint(tmp_path, content)
    assert "unknown category ids (1,200): annotation 0 has" in message
    assert "annotation 9 has category_id 5, and 1,190 more" in message
    assert "annotation 10 has" not in message


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "..", "a\\b.jpg", "C:/x.jpg", "C:x.jpg", "", ".", "a\0.jpg"]
)
def test_coco_index__file_name_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    content = document()
    content["images"][2]["file_name"] = name
    assert "file_name leaves the image folder (1): " in complaint(tmp_path, content)


@pytest.mark.parametrize("name", ["a..b.jpg", "...jpg", "sub/dir/x.jpg", "./x.jpg", "x y.jpg"])
def test_coco_index__odd_but_safe_file_names_are_kept(tmp_path: Path, name: str) -> None:
    content = document()
    content["images"][2]["file_name"] = name
    assert load(tmp_path, content).file_name(1) == name


# --- images on disk


def images_on_disk(folder: Path, content: dict[str, Any]) -> None:
    for image in content["images"]:
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_load_index__missing_images_are_counted_and_the_first_ten_named(tmp_path: Path) -> None:
    content = document()
    content["images"] += [{"id": 1000 + n, "file_name": f"more/{n:02d}.jpg"} for n in range(20)]
    annotations, folder = write(tmp_path / "instances.json", content), tmp_path / "images"
    images_on_disk(folder, content)
    load_index(annotations, image_dir=folder, cache_dir=tmp_path)

    (folder / "sub/é.jpg").unlink()
    for path in sorted((folder / "more").iterdir())[:12]:
        path.unlink()
    with pytest.raises(DataError) as caught:
        load_index(annotations, image_dir=folder, cache_dir=tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"13 of the 23 images of {annotations} are missing on disk; ")
    assert [line.strip() for line in lines[1:]] == [
        str(folder / "sub/é.jpg"),
        *(str(folder / f"more/{n:02d}.jpg") for n in range(9)),
        "and 3 more",
    ]


def test_load_index__missing_subfolder_misses_its_images(tmp_path: Path) -> None:
    content = document()
    folder = tmp_path / "images"
    images_on_disk(folder, content)
    (folder / "sub/é.jpg").unlink()
    (folder / "sub").rmdir()
    with pytest.raises(DataError, match="1 of the 3 images"):
        load_index(write(tmp_path / "i.json", content), image_dir=folder, cache_dir=tmp_path)


def test_load_index__missing_image_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; data\.root=PATH"):
        load_index(write(tmp_path / "i.json", document()), image_dir=tmp_path / "nowhere", cache_dir=tmp_path)


# --- the cache


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str]]:
    """A json whose index is cached, and a log of later builds."""
    load(tmp_path, document())
    builds: list[str] = []
    write_cache = coco_cache.write

    def counting(path: Path, arrays: coco_cache.Arrays, stamp: coco_cache.Stamp) -> None:
        builds.append(stamp.sha256)
        write_cache(path, arrays, stamp)

    monkeypatch.setattr(coco_cache, "write", counting)
    return tmp_path / "instances.json", builds


def reload(annotations: Path) -> CocoIndex:
    return load_index(annotations, image_dir=None, cache_dir=annotations.parent / "cache")


def shift_time(path: Path, seconds: int) -> None:
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + seconds * 10**9))


def test_cache__same_size_and_time_is_trusted_unread(cached: tuple[Path, list[str]], monkeypatch: Any) -> None:
    annotations, builds = cached

    def unexpected(_: object) -> str:
        raise AssertionError("the json was read")

    monkeypatch.setattr("src.data.coco.decoder.Document.sha256", unexpected)
    monkeypatch.setattr("src.data.coco.decoder.Document.tables", unexpected)
    assert reload(annotations).image_ids.tolist() == [7, 42, 900]
    assert builds == []


def test_cache__touched_json_is_hashed_once_and_not_decoded(
    cached: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations, writes = cached
    shift_time(annotations, 60)
    monkeypatch.setattr("src.data.coco.decoder.Document.tables", None)
    for _ in range(3):
        assert reload(annotations).image_ids.tolist() == [7, 42, 900]
    assert len(writes) == 1


def test_cache__changed_content_of_same_size_is_rebuilt(cached: tuple[Path, list[str]]) -> None:
    annotations, _ = cached
    before = reload(annotations)
    size = annotations.stat().st_size
    annotations.write_text(annotations.read_text(encoding="utf-8").replace("toothbrush", "hairbrush!"))
    shift_time(annotations, 60)
    assert annotations.stat().st_size == size
    after = reload(annotations)
    assert after.class_names[2] == "hairbrush!"
    assert after.fingerprint != before.fingerprint


def test_cache__changed_size_is_rebuilt_even_at_the_same_time(cached: tuple[Path, list[str]]) -> None:
    annotations, _ = cached
    time_ns = annotations.stat().st_mtime_ns
    annotations.write_text(annotations.read_text(encoding="utf-8").replace("toothbrush", "comb"), encoding="utf-8")
    os.utime(annotations, ns=(time_ns, time_ns))
    assert reload(annotations).class_names[2] == "comb"


def test_cache__digest_is_compared_once_per_modification_time(
    cached: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations, builds = cached
    path = next((annotations.parent / "cache").iterdir())
    hashed: list[int] = []
    sha256 = coco_cache.hashlib.sha256

    def counting(content: Any = b"") -> Any:
        hashed.append(len(content))
        return sha256(content)

    monkeypatch.setattr(coco_cache.hashlib, "sha256", counting)
    large = path.stat().st_size - 32
    reload(annotations)
    assert large not in hashed
    shift_time(path, 60)
    for _ in range(3):
        assert reload(annotations).image_ids.tolist() == [7, 42, 900]
    assert hashed.count(large) == 1
    assert builds == []


def test_cache__arrays_are_mapped_and_cannot_be_written(cached: tuple[Path, list[str]]) -> None:
    index = reload(cached[0])
    for array in (index.image_ids, index.widths, index.name_bytes, index.ann_class, index.ann_crowd):
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(base.obj, mmap.mmap)
        assert not array.flags.writeable
        assert array.ctypes.data % array.itemsize == 0


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign"])
def test_cache__damaged_file_is_rebuilt_and_logged(
    cached: tuple[Path, list[str]], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    annotations, builds = cached
    path = next((annotations.parent / "cache").iterdir())
    content = bytearray(path.read_bytes())
    good = bytes(content)
    content[len(content) // 2] ^= 1
    path.write_bytes({"flipped": bytes(content), "cut": good[:-9], "empty": b"", "foreign": b"x" * 99}[damage])
    with caplog.at_level(logging.WARNING):
        assert reload(annotations).image_ids.tolist() == [7, 42, 900]
    assert "damaged cache" in caplog.text
    assert len(builds) == 1
    assert path.read_bytes() == good


def test_cache__other_format_is_rebuilt(cached: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    annotations, builds = cached
    monkeypatch.setattr(coco_cache, "_FORMAT", coco_cache._FORMAT + 1)
    assert reload(annotations).image_ids.tolist() == [7, 42, 900]
    assert len(builds) == 1


def test_cache__folder_that_cannot_be_made_is_logged_not_fatal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert len(load(tmp_path, document())) == 3
    assert "cache not written" in caplog.text


def test_cache__interrupted_write_leaves_the_old_file_and_no_rubbish(
    cached: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    annotations, _ = cached
    path = next((annotations.parent / "cache").iterdir())
    good = path.read_bytes()

    def full_disk(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full_disk)
    shift_time(annotations, 60)
    assert len(reload(annotations)) == 3
    assert "No space left on device" in caplog.text
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == good


def test_cache__same_file_name_in_two_folders_is_kept_apart(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        content = document()
        content["categories"][0]["name"] = name
        annotations = write(tmp_path / name / "instances.json", content)
        assert load_index(annotations, image_dir=None, cache_dir=cache).class_names[2] == name
    assert len(list(cache.iterdir())) == 2


def test_image_error__survives_the_way_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Path("a.jpg"), "is damaged")))
    assert (str(error), error.path, error.reason) == ("a.jpg: is damaged", Path("a.jpg"), "is damaged")
