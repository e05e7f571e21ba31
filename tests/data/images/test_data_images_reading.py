import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from src.data.errors import ImageError
from src.data.images.reading import image_size, read_image

LEFT, RIGHT = (200, 60, 30), (20, 90, 220)
MILLION = 1_000_000


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:] = LEFT, RIGHT
    return Image.fromarray(pixels)


@pytest.fixture
def jpeg(tmp_path, picture) -> Path:
    path = tmp_path / "picture.jpg"
    picture.save(path, quality=95)
    return path


def read(path: Path, expected=None, max_pixels=MILLION):
    return read_image(path, expected=expected, max_pixels=max_pixels)


def assert_colours(image, left, right, tolerance=4):
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image[24, 8].astype(int), left, atol=tolerance)
    np.testing.assert_allclose(image[24, 56].astype(int), right, atol=tolerance)


def test_read_image__rgb_order(jpeg):
    assert_colours(read(jpeg, expected=(64, 48)), LEFT, RIGHT)


def test_image_size__is_width_then_height(jpeg, tmp_path, picture):
    picture.save(tmp_path / "picture.png")
    assert image_size(jpeg) == image_size(tmp_path / "picture.png") == (64, 48)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_read_image__grey_becomes_rgb(tmp_path, picture, suffix):
    path = tmp_path / f"grey.{suffix}"
    grey = picture.convert("L")
    grey.save(path)
    assert_colours(read(path), (grey.getpixel((8, 24)),) * 3, (grey.getpixel((56, 24)),) * 3)


def test_read_image__cmyk_jpeg_has_the_colours_of_the_rgb_one(tmp_path, picture):
    path = tmp_path / "cmyk.jpg"
    picture.convert("CMYK").save(path, quality=95)
    assert_colours(read(path, expected=(64, 48)), LEFT, RIGHT)


def test_read_image__progressive_jpeg(tmp_path, picture):
    path = tmp_path / "progressive.jpg"
    picture.save(path, quality=95, progressive=True)
    assert_colours(read(path), LEFT, RIGHT)


def test_read_image__sixteen_bits_are_scaled_not_cut(tmp_path, picture):
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), np.asarray(picture)[..., ::-1].astype(np.uint16) * 257)
    assert_colours(read(path), LEFT, RIGHT)


def test_read_image__rgba_drops_alpha(tmp_path, picture):
    path = tmp_path / "alpha.png"
    picture.putalpha(60)
    picture.save(path)
    assert_colours(read(path), LEFT, RIGHT)


@pytest.mark.parametrize("mode", ["P", "1", "LA"])
def test_read_image__palette_bilevel_and_grey_alpha(tmp_path, picture, mode):
    path = tmp_path / "odd.png"
    converted = picture.convert(mode)
    converted.save(path)
    reference = np.asarray(converted.convert("RGB"))
    np.testing.assert_array_equal(read(path), reference)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_image__exif_rotation_is_ignored(tmp_path, picture, orientation):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, quality=95, exif=exif)
    assert image_size(path) == (64, 48)
    assert_colours(read(path, expected=(64, 48)), LEFT, RIGHT)


def test_read_image__missing_file(tmp_path):
    with pytest.raises(ImageError, match="no such file") as caught:
        read(tmp_path / "gone.jpg")
    assert caught.value.path == tmp_path / "gone.jpg"
    assert str(tmp_path / "gone.jpg") in str(caught.value)
    with pytest.raises(ImageError, match="no such file"):
        image_size(tmp_path / "gone.jpg")


def test_read_image__a_folder_is_no_image(tmp_path):
    with pytest.raises(ImageError, match="directory"):
        read(tmp_path)


def test_read_image__zero_bytes(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match="0 bytes"):
        read(tmp_path / "empty.jpg")


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"GIF89a" + bytes(40), b"\x89", bytes(100)])
def test_read_image__not_an_image(tmp_path, content):
    (tmp_path / "page.jpg").write_bytes(content)
    with pytest.raises(ImageError, match="neither a JPEG nor a PNG"):
        read(tmp_path / "page.jpg")


@pytest.mark.parametrize("content", [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x01", b"\x89PNG\r\n\x1a\n" + bytes(9)])
def test_image_size__header_that_ends_early(tmp_path, content):
    (tmp_path / "stub.jpg").write_bytes(content)
    with pytest.raises(ImageError, match="damaged header"):
        image_size(tmp_path / "stub.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.4, 0.8, 0.99])
def test_read_image__truncated_file(tmp_path, suffix, share):
    path = tmp_path / f"noise.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match="ends early"):
        read(path)


def test_read_image__truncated_file_with_a_whole_exif_thumbnail(jpeg):
    data = jpeg.read_bytes()
    thumbnail = b"Exif\0\0" + b"\xff\xd8 thumbnail \xff\xd9"
    jpeg.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:-60])
    with pytest.raises(ImageError, match="ends early"):
        read(jpeg)


def test_read_image__bytes_behind_the_end_are_harmless(jpeg):
    jpeg.write_bytes(jpeg.read_bytes() + b"\0" * 64)
    assert_colours(read(jpeg), LEFT, RIGHT)


def test_read_image__flipped_bytes_in_a_png(tmp_path):
    path = tmp_path / "flipped.png"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ImageError, match="cannot be decoded"):
        read(path)


def test_read_image__size_other_than_annotated(jpeg):
    with pytest.raises(ImageError, match="is 64x48, but the annotations say 48x64"):
        read(jpeg, expected=(48, 64))


def patched_to(jpeg: Path, side: int) -> None:
    data = bytearray(jpeg.read_bytes())
    frame = data.find(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    jpeg.write_bytes(data)


@pytest.mark.parametrize("expected", [None, (64, 48)])
def test_read_image__header_bomb_allocates_nothing(jpeg, expected, monkeypatch):
    patched_to(jpeg, 65500)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    tracemalloc.start()
    with pytest.raises(ImageError, match="65500x65500 pixels are more than"):
        read(jpeg, expected=expected)
    assert tracemalloc.get_traced_memory()[1] < MILLION
    tracemalloc.stop()


def test_read_image__header_bomb_below_max_pixels_fails_on_the_annotated_size(jpeg, monkeypatch):
    patched_to(jpeg, 900)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="is 900x900"):
        read(jpeg, expected=(64, 48))


def test_read_image__what_opencv_refuses_is_an_image_error(jpeg):
    """OpenCV has a pixel limit of its own and throws there; set at import, so in a process of its own."""
    code = (
        "from pathlib import Path; from src.data.images.reading import read_image\n"
        f"read_image(Path({str(jpeg)!r}), expected=None, max_pixels=10**9)"
    )
    environment = {**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": "100"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "ImageError" in done.stderr.splitlines()[-1]
    assert "cannot be decoded" in done.stderr.splitlines()[-1]


@pytest.mark.real
def test_read_image__real_photographs():
    root = os.environ.get("COCO_REAL")
    if not root:
        pytest.skip("COCO_REAL is not set")
    paths = sorted((Path(root) / "val2017").glob("*.jpg"))[:100]
    for path in paths:
        image = read(path, expected=image_size(path))
        np.testing.assert_allclose(image.mean(), np.asarray(Image.open(path).convert("RGB")).mean(), atol=1)
