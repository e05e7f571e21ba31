"""Small copies of images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.errors import ImageError
from src.data.images.thumbnails import read_thumbnail, shrink


def write(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


def read(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (120, 160)), (640, 480, (160, 120)), (50, 80, (50, 80)), (1000, 2, (160, 1)), (160, 160, (160, 160))],
)
def test_read_thumbnail__fits_the_square_and_is_never_enlarged(
    tmp_path: Path, height: int, width: int, expected: tuple[int, int]
) -> None:
    path = write(tmp_path / "image.png", np.zeros((height, width, 3), np.uint8))
    thumbnail = read_thumbnail(path, max_pixels=10**7)
    assert (thumbnail.height, thumbnail.width) == expected
    assert read(thumbnail.jpeg).shape[:2] == expected


def test_read_thumbnail__keeps_colours_and_places(tmp_path: Path) -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image[:150] = (220, 30, 30)
    image[150:] = (30, 30, 220)
    found = read(read_thumbnail(write(tmp_path / "image.png", image), max_pixels=10**7).jpeg).astype(int)
    assert np.abs(found[:70].mean(axis=(0, 1)) - (220, 30, 30)).max() < 4
    assert np.abs(found[90:].mean(axis=(0, 1)) - (30, 30, 220)).max() < 4


def test_read_thumbnail__ignores_the_exif_rotation_as_training_does(tmp_path: Path) -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    exif = (
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00"
    )
    path = tmp_path / "rotated.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    assert cv2.imread(str(path)).shape[:2] == (80, 40)
    thumbnail = read_thumbnail(path, max_pixels=10**7)
    assert (thumbnail.height, thumbnail.width) == (40, 80)


def test_read_thumbnail__says_why_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_thumbnail(tmp_path / "missing.jpg", max_pixels=100)
    path = write(tmp_path / "large.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(ImageError, match="20x20 pixels are more than"):
        read_thumbnail(path, max_pixels=100)


def test_shrink__averages_what_it_drops() -> None:
    image = np.zeros((320, 320, 3), np.uint8)
    image[::2] = 200
    assert np.unique(shrink(image, side=160)).tolist() == [100]
