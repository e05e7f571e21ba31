"""What files say of themselves, and what reading them finds; a broken one is named, not fatal."""

import io
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from src.data.coco.index import CocoIndex, load_index
from src.data.images.header import Header, read_header
from src.data.images.health import ImageHealth, image_health

COCO_REAL = os.environ.get("COCO_REAL")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def flat(width: int, height: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def make_index(tmp_path: Path, names: list[str], sizes: dict[str, tuple[int, int]] | None = None) -> CocoIndex:
    images: list[dict[str, Any]] = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    for image in images:
        if sizes and image["file_name"] in sizes:
            image["width"], image["height"] = sizes[image["file_name"]]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": [{"id": 1, "name": "x"}]}))
    return load_index(path, image_dir=None, cache_dir=tmp_path / "cache")


def check(index: CocoIndex, folder: Path, **options: Any) -> ImageHealth:
    defaults = {"images": -1, "seed": 0, "darkest": 2, "max_pixels": 10**6, "mean": MEAN, "std": STD}
    return image_health(index, folder, **(defaults | options))


def encoded(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


# --- headers


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("RGB", "JPEG", "JPEG RGB"),
        ("L", "JPEG", "JPEG grey"),
        ("CMYK", "JPEG", "JPEG CMYK"),
        ("RGB", "PNG", "PNG RGB"),
        ("L", "PNG", "PNG grey"),
        ("LA", "PNG", "PNG grey+alpha"),
        ("RGBA", "PNG", "PNG RGBA"),
        ("P", "PNG", "PNG palette 1-bit"),
        ("I;16", "PNG", "PNG grey 16-bit"),
    ],
)
def test_read_header__kind_and_size(mode: str, kind: str, expected: str) -> None:
    header = read_header(encoded(Image.new(mode, (31, 17)), kind))
    assert header is not None
    assert (header.kind, header.width, header.height, header.orientation) == (expected, 31, 17, 1)


def test_read_header__progressive_jpeg() -> None:
    header = read_header(encoded(Image.new("RGB", (31, 17)), "JPEG", progressive=True))
    assert header == Header("JPEG", 31, 17, "RGB", bits=8, orientation=1)


def test_read_header__fill_bytes_before_a_marker() -> None:
    content = encoded(Image.new("RGB", (31, 17)), "JPEG").getvalue()
    filled = content[:2] + b"\xff\xff" + content[2:]
    assert read_header(io.BytesIO(filled)) == Header("JPEG", 31, 17, "RGB", bits=8, orientation=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_read_header__exif_orientation(orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "a maker before it"
    exif[0x0112] = orientation
    header = read_header(encoded(Image.new("RGB", (31, 17)), "JPEG", exif=exif))
    assert header is not None
    assert (header.orientation, header.width, header.height) == (orientation, 31, 17)


def test_read_header__invalid_orientation_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    header = read_header(encoded(Image.new("RGB", (31, 17)), "JPEG", exif=exif))
    assert header is not None
    assert header.orientation == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_read_header__every_cut_is_none_or_the_truth(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("RGB", (31, 17)), kind, exif=exif).getvalue()
    whole = read_header(io.BytesIO(content))
    found = [read_header(io.BytesIO(content[:length])) for length in range(len(content))]
    assert found[0] is None
    assert found[-1] == whole
    assert all(header in (None, whole) for header in found)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8", b"\xff\xd8\xff\xda\0\2", b"\xff\xd8\xff\xe0\0\0"])
def test_read_header__anything_else_is_none(content: bytes) -> None:
    assert read_header(io.BytesIO(content)) is None


def test_read_header__random_bytes_after_the_start_never_raise() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        tail = rng.integers(0, 256, 60, dtype=np.uint8).tobytes()
        for start in (b"\xff\xd8\xff\xe1\x00\x30Exif\0\0II", b"\xff\xd8\xff\xe1\x00\x30Exif\0\0MM", b"\xff\xd8\xff"):
            header = read_header(io.BytesIO(start + tail))
            assert header is None or 1 <= header.orientation <= 8


# --- the report


def test_image_health__sizes_kinds_and_brightness(tmp_path: Path) -> None:
    for name, image in {"a.png": flat(40, 30, 10), "b.png": flat(20, 50, 200), "c.png": flat(60, 10, 90)}.items():
        cv2.imwrite(str(tmp_path / name), image)
    Image.new("CMYK", (30, 30)).save(tmp_path / "d.jpg")
    Image.new("I;16", (30, 30), 60_000).save(tmp_path / "e.png")
    health = check(make_index(tmp_path, ["a.png", "b.png", "c.png", "d.jpg", "e.png"]), tmp_path)
    assert (health.total, health.checked, health.broken) == (5, 5, ())
    assert (health.widths.min, health.widths.median, health.widths.max) == (20, 30, 60)
    assert (health.heights.min, health.heights.median, health.heights.max) == (10, 30, 50)
    assert health.kinds == {"PNG RGB": 3, "JPEG CMYK": 1, "PNG grey 16-bit": 1}
    assert next(iter(health.kinds)) == "PNG RGB"
    assert health.brightness.min == 10
    assert [(dark.path.name, dark.brightness) for dark in health.darkest] == [("a.png", 10.0), ("c.png", 90.0)]


def test_image_health__normalized_brightness_is_what_the_network_sees(tmp_path: Path) -> None:
    image_RGB = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image_RGB[:, :, ::-1])
    health = check(make_index(tmp_path, ["a.png"]), tmp_path)
    assert health.brightness.median == pytest.approx(image_RGB.mean())
    assert health.normalized.median == pytest.approx(((image_RGB / 255 - MEAN) / STD).mean())


def test_image_health__rotated_images_are_counted_and_not_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (40, 20)).save(tmp_path / "b.jpg")
    health = check(make_index(tmp_path, ["a.jpg", "b.jpg"]), tmp_path)
    assert health.rotated == 1
    assert (health.widths.min, health.heights.max) == (40, 20)


def test_image_health__broken_images_are_named_with_their_reason(tmp_path: Path) -> None:
    for name in ("good.jpg", "cut.jpg", "large.jpg", "other.jpg"):
        cv2.imwrite(str(tmp_path / name), flat(400 if name == "large.jpg" else 40, 30, 50))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:300])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image")
    names = ["absent.jpg", "cut.jpg", "empty.jpg", "good.jpg", "large.jpg", "other.jpg", "text.jpg"]
    index = make_index(tmp_path, names, sizes={"other.jpg": (41, 30), "good.jpg": (40, 30)})
    health = check(index, tmp_path, max_pixels=5000)
    assert [error.path.name for error in health.broken] == [name for name in names if name != "good.jpg"]
    assert all(error.reason for error in health.broken)
    assert "40x30, but the annotations say 41x30" in health.broken[4].reason
    assert (health.checked, sum(health.kinds.values())) == (7, 1)


def test_image_health__no_readable_image_gives_nan(tmp_path: Path) -> None:
    health = check(make_index(tmp_path, ["absent.jpg"]), tmp_path)
    assert np.isnan([health.widths.min, health.brightness.median, health.normalized.max]).all()
    assert (health.kinds, health.darkest, len(health.broken)) == ({}, (), 1)


def test_image_health__choice_is_seeded(tmp_path: Path) -> None:
    names = [f"{n:02d}.png" for n in range(20)]
    for n, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), flat(8, 8, n))
    index = make_index(tmp_path, names)
    chosen = [
        [dark.path.name for dark in check(index, tmp_path, images=6, seed=seed, darkest=99).darkest]
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(set(chosen[0])) == 6
    assert check(index, tmp_path, images=99).checked == 20
    assert check(index, tmp_path, images=0).checked == 0


@pytest.mark.real
@pytest.mark.skipif(COCO_REAL is None, reason="COCO_REAL names no folder with real COCO data")
def test_image_health__real_coco_is_sound(tmp_path: Path) -> None:
    root = Path(str(COCO_REAL))
    annotations = root / "annotations/instances_val2017.json"
    index = load_index(annotations, image_dir=root / "val2017", cache_dir=tmp_path)
    health = check(index, root / "val2017", images=200)
    assert health.broken == ()
    assert set(health.kinds) <= {"JPEG RGB", "JPEG grey"}
    assert min(health.widths.min, health.heights.min) > 50
    assert 90 < health.brightness.median < 140
