import contextlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from src.data.sample import synthetic
from src.data.sample.scenes import MIN_VISIBLE, SIDES, Canvas, Request, compose
from src.data.sample.shapes import COLOURS, OUTLINES, Look, draw
from src.data.sample.synthetic import TOY_CLASSES, ensure_sample, plan_targets

TRAIN_IMAGES, VAL_IMAGES = 96, 32


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return ensure_sample(tmp_path_factory.mktemp("sample"), train_images=TRAIN_IMAGES, val_images=VAL_IMAGES, seed=7)


def load(root: Path, split: str) -> dict:
    return json.loads((root / "annotations" / f"instances_{split}2017.json").read_text())


def test_sample__layout_is_cocos_and_pycocotools_reads_it(root):
    for split, count in (("train", TRAIN_IMAGES), ("val", VAL_IMAGES)):
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(root / "annotations" / f"instances_{split}2017.json"))
        assert len(coco.getImgIds()) == count == len(list((root / f"{split}2017").iterdir()))
        assert len(coco.getCatIds()) == len(TOY_CLASSES)
        for image in coco.loadImgs(coco.getImgIds()):
            pixels = cv2.imread(str(root / f"{split}2017" / image["file_name"]))
            assert pixels.shape == (image["height"], image["width"], 3)


def test_sample__category_ids_have_holes_and_names_are_unique():
    ids = [toy.category_id for toy in TOY_CLASSES]
    assert ids == sorted(set(ids))
    assert ids != list(range(ids[0], ids[0] + len(ids)))
    assert len({toy.name for toy in TOY_CLASSES}) == len(TOY_CLASSES)
    assert len({toy.look for toy in TOY_CLASSES}) == len(TOY_CLASSES)


def test_sample__shapes_and_colours_are_shared_between_classes():
    shapes, colours = {toy.look.shape for toy in TOY_CLASSES}, {toy.look.colour for toy in TOY_CLASSES}
    assert len(shapes) < len(TOY_CLASSES)
    assert len(colours) < len(TOY_CLASSES) / 2
    assert shapes <= set(OUTLINES)
    assert colours <= set(COLOURS)


@pytest.mark.parametrize("num_images", [2400, 600])
def test_plan_targets__long_tail_and_a_weak_constant_answer(num_images):
    planned = plan_targets(num_images, np.random.default_rng(0))
    frequency = planned.sum(0)
    assert frequency.max() / frequency.min() >= 50
    assert frequency.max() / num_images <= 0.3
    assert frequency.min() >= (12 if num_images == 2400 else 3)
    assert 2.2 <= planned.sum(1).mean() <= 3.5
    assert 0.015 <= (~planned.any(1)).mean() <= 0.035
    most_frequent_first = np.sort(frequency)[::-1]
    answered = np.arange(1, len(frequency) + 1)
    f1 = 2 * np.cumsum(most_frequent_first) / (num_images * answered + frequency.sum())
    assert f1.max() < 0.4


def test_plan_targets__partners_keep_company():
    planned = plan_targets(2400, np.random.default_rng(0))
    column = {toy.name: index for index, toy in enumerate(TOY_CLASSES)}
    for toy in TOY_CLASSES:
        if toy.partner:
            together = planned[planned[:, column[toy.name]], column[toy.partner]].mean()
            assert together > 1.5 * planned[:, column[toy.partner]].mean()


@pytest.mark.parametrize("num_images", [16, 64])
def test_plan_targets__every_class_in_the_smallest_samples(num_images):
    assert plan_targets(num_images, np.random.default_rng(1)).any(0).all()


def test_sample__json_holds_the_plan_with_crowds_and_empty_images(root):
    table = load(root, "train")
    assert any(annotation["iscrowd"] for annotation in table["annotations"])
    with_object = {annotation["image_id"] for annotation in table["annotations"]}
    assert 0 < TRAIN_IMAGES - len(with_object) <= 0.06 * TRAIN_IMAGES
    assert {annotation["category_id"] for annotation in table["annotations"]} == {
        toy.category_id for toy in TOY_CLASSES
    }
    ids = [annotation["id"] for annotation in table["annotations"]]
    assert len(set(ids)) == len(ids)
    assert {image["width"] for image in table["images"]} == set(SIDES)


def test_sample__same_settings_same_bytes_other_seed_other_sample(root, tmp_path):
    again = ensure_sample(tmp_path, train_images=TRAIN_IMAGES, val_images=VAL_IMAGES, seed=7)
    other = ensure_sample(tmp_path, train_images=TRAIN_IMAGES, val_images=VAL_IMAGES, seed=8)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((root / name).read_bytes() == (again / name).read_bytes() for name in files)
    assert load(other, "train") != load(root, "train")


def test_sample__train_and_val_differ(root):
    assert load(root, "train")["annotations"][:20] != load(root, "val")["annotations"][:20]


def test_ensure_sample__written_once(root):
    before = root.stat().st_mtime_ns
    assert ensure_sample(root.parent, train_images=TRAIN_IMAGES, val_images=VAL_IMAGES, seed=7) == root
    assert root.stat().st_mtime_ns == before


def test_ensure_sample__two_at_once_leave_one_whole_sample(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ensure_sample, tmp_path, train_images=64, val_images=16, seed=1) for _ in range(2)]
        roots = {future.result() for future in asked}
    assert [path.name for path in tmp_path.iterdir()] == [roots.pop().name]
    assert len(list(tmp_path.glob("*/train2017/*.jpg"))) == 64


def test_ensure_sample__a_failed_run_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(root, split, *_):
        (root / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synthetic, "_write_split", full_disk)
    with pytest.raises(OSError, match="No space left"):
        ensure_sample(tmp_path, train_images=64, val_images=16, seed=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", sorted(OUTLINES))
def test_draw__outline_fills_its_frame(shape):
    stamp = draw(
        Look(shape, "red"), centre=(50, 50), radius=30, angle=0.0, size=(100, 100), rng=np.random.default_rng(0)
    )
    height, width = stamp.solid.shape
    assert max(height, width) >= 45
    assert 15 <= stamp.left <= 50
    assert stamp.solid.sum() > 0.15 * 60 * 60


def test_compose__boxes_and_areas_are_those_of_the_pixels_drawn():
    rng, seen = np.random.default_rng(3), []
    paint = Canvas.paint

    def spy(canvas, stamps, *, owned):
        if owned:
            mask = np.zeros(canvas.image.shape[:2], bool)
            for stamp in stamps:
                mask[stamp.window] |= stamp.solid
            seen.append(mask)
        paint(canvas, stamps, owned=owned)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Canvas, "paint", spy)
        requests = [Request(index, TOY_CLASSES[index].look, crowd=index == 2) for index in range(6)]
        image, placed = compose(requests, rng, taken=frozenset(), bank=np.zeros((200, 200, 3), np.int16))
    assert len(placed) == len(seen) == 6
    covered = np.zeros(image.shape[:2], bool)
    for one, mask in reversed(list(zip(placed, seen, strict=True))):
        rows, columns = np.nonzero(mask)
        left, top, width, height = one.box
        assert (left, top) == (columns.min(), rows.min())
        assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        assert one.area == mask.sum()
        assert (mask & ~covered).sum() >= MIN_VISIBLE * mask.sum()
        covered |= mask


def test_compose__what_finds_no_place_is_not_annotated(monkeypatch):
    monkeypatch.setattr(Canvas, "hides_too_much", lambda *_: True)
    bank = np.zeros((200, 200, 3), np.int16)
    _, placed = compose([Request(0, TOY_CLASSES[0].look)], np.random.default_rng(0), taken=frozenset(), bank=bank)
    assert placed == []
