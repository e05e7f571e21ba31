"""Image files without labels."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.augment.recipe import build_eval_transform
from src.data.errors import DataError, ImageError
from src.data.files import FileDataset, file_loader
from src.data.listing import list_images


def save(path: Path, value: int, side: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((side, side, 3), value, np.uint8))
    return path


def files(paths: list[Path], *, on_error: str, max_pixels: int) -> FileDataset:
    transform = build_eval_transform("squash", 8)
    return FileDataset(
        paths, num_classes=5, transform=transform, image_size=8, max_pixels=max_pixels, on_error=on_error
    )


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    save(tmp_path / "b.PNG", 20)
    save(tmp_path / "a" / "deep" / "c.jpeg", 30)
    save(tmp_path / "a" / "x.jpg", 10)
    save(tmp_path / ".hidden" / "h.jpg", 40)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_list_images__every_image_below_a_folder_in_order_without_hidden_ones(photos: Path) -> None:
    found = list_images(photos)
    assert [path.name for path in found.passed_over] == ["notes.txt"]
    assert found.names == ["a/deep/c.jpeg", "a/x.jpg", "b.PNG"]
    assert list_images(photos / "b.PNG").names == ["b.PNG"]


def test_list_images__a_hidden_folder_that_was_asked_for_is_searched(photos: Path) -> None:
    assert list(list_images(photos / ".hidden").images) == [photos / ".hidden" / "h.jpg"]


def test_list_images__nothing_there_is_an_error_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"input: no file or folder {tmp_path}/gone"):
        list_images(tmp_path / "gone")
    with pytest.raises(DataError, match=rf"no image \(\.jpg, \.jpeg, \.png\) below {tmp_path}"):
        list_images(tmp_path)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_file_loader__files_in_order_broken_ones_by_row(photos: Path, num_workers: int) -> None:
    (photos / "a" / "broken.jpg").write_bytes(b"")
    paths = list_images(photos).images
    dataset = files(paths, on_error="skip", max_pixels=10_000)
    batches = file_loader(dataset, batch_size=3, num_workers=num_workers, pin_memory=False)
    first, second = list(batches)
    assert (first["image_id"].tolist(), first["skipped"].tolist()) == ([1, 2], [0])
    assert [paths[row].name for row in (0, 1, 2)] == ["broken.jpg", "c.jpeg", "x.jpg"]
    assert first["image"].float().mean((1, 2, 3)).tolist() == [30, 10]
    assert second["image"].shape == (1, 3, 8, 8)
    assert second["target"].tolist() == [[0] * 5]


def test_file_loader__raises_the_first_broken_image_with_its_path(photos: Path) -> None:
    dataset = files(list_images(photos).images, on_error="raise", max_pixels=40 * 40 - 1)
    batches = file_loader(dataset, batch_size=3, num_workers=0, pin_memory=False)
    with pytest.raises(ImageError, match=r"c\.jpeg: 40x40 pixels are more than data\.max_pixels=1599"):
        list(batches)
