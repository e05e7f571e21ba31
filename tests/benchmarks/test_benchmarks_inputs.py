"""Generated inputs: what the readers of the project make of them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.instances import CLASSES, category_ids, ensure_train_json
from benchmarks.photos import ensure_layout, ensure_photos
from benchmarks.settings import Settings
from src.config.schema.data import CocoConfig
from src.data.coco.index import load_index
from src.data.source import locate


def test_train_json__has_cocos_structure(tmp_path: Path) -> None:
    path = ensure_train_json(tmp_path, small=True)
    content = json.loads(path.read_text())
    index = load_index(path, image_dir=None, cache_dir=tmp_path / "cache")
    assert list(content) == ["info", "licenses", "images", "annotations", "categories"]
    assert len(index) == 400
    assert len(index.ann_class) == len(content["annotations"]) == 400 * 860_001 // 118_287
    assert index.category_ids.tolist() == category_ids()
    assert len(category_ids()) == CLASSES
    assert (np.diff(index.ann_offsets) == 0).sum() >= 3
    assert index.ann_crowd.any()
    lengths = [len(shape) for one in content["annotations"] if isinstance(one["segmentation"], list)
               for shape in one["segmentation"]]  # fmt: skip
    assert 30 < np.mean(lengths) < 80
    assert ensure_train_json(tmp_path, small=True) == path


def test_photos__look_like_cocos_to_a_decoder(tmp_path: Path) -> None:
    photos = ensure_photos(Settings(folder=tmp_path, small=True))
    assert [Image.open(path).size for path in photos] == [(640, 480)] * 8
    assert 90_000 < np.mean([path.stat().st_size for path in photos]) < 190_000


def test_layout__is_a_data_set_of_links(tmp_path: Path) -> None:
    root = ensure_layout(Settings(folder=tmp_path, small=True), train=12, val=4)
    source = locate(CocoConfig(root=str(root)), cache_dir=tmp_path)
    index = load_index(source.train_annotations, image_dir=source.train_images, cache_dir=tmp_path / "cache")
    assert len(index) == 12
    assert (root / "train2017" / index.file_name(9)).resolve() == (tmp_path / "photos_v1_8/000000000002.jpg").resolve()


def test_settings__survive_the_way_to_another_process(tmp_path: Path) -> None:
    settings = Settings(folder=tmp_path, repeats=3, small=True, originals=tmp_path / "o", threads=2, clock="cpu")
    assert Settings.loads(settings.dumps()) == settings
