"""The data report against a count by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.config.schema.data import CocoConfig
from src.config.schema.errors import ConfigError
from src.config.schema.root import DescribeConfig
from src.data.errors import DataError
from src.run.description import describe, strongest_pairs

DATA_KEYS = ("empty", "limit", "crowd", "min_area", "classes", "sampler", "repeat_threshold")


def wish(folder: Path, cache_dir: Path, **changes: Any) -> DescribeConfig:
    data = {key: changes.pop(key) for key in list(changes) if key in DATA_KEYS}
    return DescribeConfig(data=CocoConfig(root=str(folder), **data), cache_dir=str(cache_dir), **changes)


def images_per_class(folder: Path, split: str) -> dict[str, int]:
    table = json.loads((folder / f"annotations/instances_{split}2017.json").read_text())
    names = {category["id"]: category["name"] for category in table["categories"]}
    pairs = {(found["image_id"], names[found["category_id"]]) for found in table["annotations"]}
    return {name: sum(pair[1] == name for pair in pairs) for name in names.values()}


def strict_json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.mark.parametrize(("split", "images"), [("train", 160), ("val", 48)])
def test_describe__counts(coco_folder: Path, cache_dir: Path, tmp_path: Path, split: str, images: int) -> None:
    content = describe(wish(coco_folder, cache_dir, split=split, images=0, output=str(tmp_path / "new/report.json")))
    assert {row["class_name"]: row["count"] for row in content["classes"]} == images_per_class(coco_folder, split)
    assert content["summary"]["images"] == images
    assert content["images"] is None
    assert content["builtin_sample"] is False
    written = strict_json(tmp_path / "new/report.json")
    assert written["classes"] == content["classes"]
    assert written["summary"]["labels_mean"] == content["summary"]["labels_mean"]


def test_describe__prints_what_it_found(coco_folder: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = describe(wish(coco_folder, cache_dir, images=-1))
    printed = capsys.readouterr().out
    counts = images_per_class(coco_folder, "train")
    assert all(name in printed for name in counts)
    assert f"most : least frequent class {max(counts.values()) / min(counts.values()):.0f} : 1" in printed
    assert "image health: 160 of 160 images read, 0 broken" in printed
    assert content["images"]["checked"] == 160


def test_describe__says_that_all_of_train_is_looked_at_whatever_the_limit(
    coco_folder: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = wish(coco_folder, cache_dir, images=0, limit=20)
    assert describe(limited)["summary"]["images"] == 160
    assert "all of it, data.limit is for training alone" in capsys.readouterr().out
    assert not describe(wish(coco_folder, cache_dir, images=0, limit=20, split="val"))["note"]
    assert "data.limit" not in capsys.readouterr().out


def test_describe__one_class_to_beat_is_not_a_number_of_classes(
    coco_folder: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = describe(wish(coco_folder, cache_dir, images=0, classes=["red ball"]))
    assert content["summary"]["baselines"]["best_k"] == 1
    assert "the most frequent class everywhere" in capsys.readouterr().out


def test_describe__broken_images_are_named(
    coco_folder: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = sorted((coco_folder / "val2017").iterdir())[3]
    broken.write_bytes(b"")
    content = describe(wish(coco_folder, cache_dir, split="val", images=-1, darkest=2))
    assert [found["path"] for found in content["images"]["broken"]] == [str(broken)]
    assert len(content["images"]["darkest"]) == 2
    assert str(broken) in capsys.readouterr().out


def test_describe__what_the_selection_leaves_out(coco_folder: Path, cache_dir: Path, tmp_path: Path) -> None:
    table = json.loads((coco_folder / "annotations/instances_train2017.json").read_text())
    crowd = sum(found["iscrowd"] for found in table["annotations"])
    assert crowd
    content = describe(wish(coco_folder, cache_dir, images=0, crowd="drop", empty="drop"))
    assert content["ignored_crowd"] == crowd
    assert content["summary"]["images"] == 160 - content["dropped_empty"] < 160


def test_describe__absent_classes_leave_valid_json(coco_folder: Path, cache_dir: Path, tmp_path: Path) -> None:
    describe(wish(coco_folder, cache_dir, images=0, min_area=1e9, output=str(tmp_path / "report.json")))
    strict_json(tmp_path / "report.json")


def test_describe__sampler_section_is_what_the_sampler_does(
    coco_folder: Path, cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"sampler": "repeat_factor", "repeat_threshold": 0.1}
    content = describe(wish(coco_folder, cache_dir, images=0, output=str(tmp_path / "report.json"), **options))
    images = content["summary"]["images"]
    effect, printed = content["sampler"], capsys.readouterr().out
    counts = images_per_class(coco_folder, "train")
    assert {row["class_name"]: row["count"] for row in effect["classes"]} == counts
    for row in effect["classes"]:
        least = max(1, (0.1 * images / row["count"]) ** 0.5)
        assert row["factor"] >= least * (1 - 1e-12)
        assert f"{row['expected_count']:,.0f}" in printed
    summary = effect["summary"]
    assert summary["imbalance_before"] == max(counts.values()) / min(counts.values()) > summary["imbalance_after"]
    assert f"{summary['visits']} visits to {images} images; 0 of them are not visited" in printed
    assert strict_json(tmp_path / "report.json")["sampler"] == effect


def test_describe__sampler_that_changes_nothing_says_so(
    coco_folder: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    describe(wish(coco_folder, cache_dir, images=0, sampler="repeat_factor", repeat_threshold=0.001))
    assert "no class is that rare: the same as data.sampler=uniform" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"sampler": "class_aware", "split": "val"}])
def test_describe__no_sampler_section_where_nothing_is_resampled(
    coco_folder: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str]
) -> None:
    assert describe(wish(coco_folder, cache_dir, images=0, **options))["sampler"] is None
    assert "visits" not in capsys.readouterr().out


def test_describe__missing_data_names_the_folder(cache_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.root: no folder .*nowhere"):
        describe(wish(tmp_path / "nowhere", cache_dir))


def test_strongest_pairs__lift_is_conditional_over_marginal_share() -> None:
    rng = np.random.default_rng(0)
    targets_NC = (rng.random((400, 5)) < 0.2).astype(np.uint8)
    targets_NC[targets_NC[:, 0] == 1, 1] = 1  # wherever 0 is, 1 is
    targets_NC[:, 4] = 0
    targets_NC[:3, 4] = 1  # too rare to speak of
    names = ["a", "b", "c", "d", "e"]
    share = targets_NC.mean(axis=0)
    pairs = strongest_pairs(
        targets_NC, pd.DataFrame({"class_name": names, "frequency": share, "count": targets_NC.sum(axis=0)})
    )
    assert {"given": "a", "then": "b", "probability": 1.0, "lift": pytest.approx(1 / share[1])} in pairs
    assert all(pair["given"] != "e" for pair in pairs)
    for pair in pairs:
        given, then = (names.index(pair[key]) for key in ("given", "then"))
        probability = targets_NC[targets_NC[:, given] == 1, then].mean()
        assert pair["probability"] == pytest.approx(probability)
        assert pair["lift"] == pytest.approx(probability / share[then])
    lifts = [pair["lift"] for pair in pairs]
    assert lifts == sorted(lifts, reverse=True)


def test_describe__train_in_shards_is_described_without_its_images(coco_folder: Path, tmp_path: Path) -> None:
    (coco_folder / "train2017").rename(tmp_path / "elsewhere")
    data = {"root": str(coco_folder), "shards": f"{tmp_path}/*.tar"}
    wish = DescribeConfig(data=CocoConfig(**data), images=0, cache_dir=str(tmp_path / "c"))
    assert describe(wish)["summary"]["images"] == 160
    wish.images = 5
    with pytest.raises(ConfigError, match=r"images: the images of train lie in data\.shards .* images=0"):
        describe(wish)
