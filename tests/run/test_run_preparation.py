"""What data.cache does to a run, and what src.prepare leaves behind."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from src.config.schema.data import AugmentConfig, CocoConfig
from src.config.schema.root import PrepareConfig
from src.data.errors import ImageError
from src.run.preparation import prepare
from tests.data.conftest import write_shards
from tests.run.conftest import SHORT, Run

WHOLE = AugmentConfig(crop_min_scale=1.0)


def wish(folder: Path, cache_dir: Path, **data: Any) -> PrepareConfig:
    settings = {"root": str(folder), "image_size": 32, **data}
    return PrepareConfig(data=CocoConfig(**settings), augment=WHOLE, cache_dir=str(cache_dir))


def steps(content: dict[str, Any]) -> list[str]:
    return [row["what"] for row in content["rows"]]


def test_prepare__indexes_and_writes_the_cache_once(
    coco_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(wish(coco_folder, tmp_path / "c", cache="raw"))
    assert steps(first) == ["index of train", "index of val", "raw at 32 px"]
    assert [row["images"] for row in first["rows"]] == [160, 48, 160]
    assert first["rows"][2]["bytes"] == 160 * 32 * 32 * 3
    printed = capsys.readouterr().out
    assert "raw at 32 px: 160 of 160 images written" in printed
    assert "1 of 1 shards written" in printed
    again = prepare(wish(coco_folder, tmp_path / "c", cache="raw"))
    assert again["rows"][2]["note"].startswith("0 of 1 shards written")
    assert "images written" not in capsys.readouterr().out


def test_prepare__none_indexes_only_and_auto_says_why(coco_folder: Path, tmp_path: Path) -> None:
    assert steps(prepare(wish(coco_folder, tmp_path))) == ["index of train", "index of val"]
    content = prepare(wish(coco_folder, tmp_path, cache="auto"))
    assert steps(content)[2:] == ["auto", "raw at 32 px"]
    assert content["rows"][2]["note"].startswith("raw: 0.0 GB fit into")


def test_prepare__broken_images_are_an_error_or_counted(
    coco_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = sorted((coco_folder / "train2017").iterdir())[3]
    broken.write_bytes(b"")
    with pytest.raises(ImageError, match=r"0 bytes.*broken images: 1; data\.on_error=skip trains on"):
        prepare(wish(coco_folder, tmp_path, cache="jpeg"))
    content = prepare(wish(coco_folder, tmp_path, cache="jpeg", on_error="skip"))
    assert content["broken"] == [f"{broken}: the file is empty (0 bytes)"]
    assert "0 of 1 shards written" in content["rows"][2]["note"]
    assert broken.name in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["auto", "device"])
def test_train__without_crops_a_cache_gives_the_weights_of_the_files(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    options = (*SHORT, "augment=seed", "trainer.max_epochs=3", "debug.max_steps=2", "data.exact_resize=true")
    cached = run(tmp_path / kind, *options, f"data.cache={kind}")
    printed = capsys.readouterr().out
    found = yaml.safe_load((cached.path / "config.yaml").read_text())["data"]
    expected_kind = "raw" if kind == "auto" else kind
    assert (found["cache"], found["cache_side"]) == (expected_kind, 32)
    note = cached.read_json("env.json")["cache"]
    assert note.startswith(f"{expected_kind} at 32 px (")
    assert f"cache      {note[:30]}" in printed
    if kind == "device":  # interpolation and factors are rounded elsewhere
        return
    plain = run(tmp_path / "none", *options)
    assert plain.read_json("env.json")["cache"] == ""
    one, other = (torch.load(folder.last, weights_only=True)["state_dict"] for folder in (cached, plain))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert cached.read_records()[-1]["holdout/map"] == plain.read_records()[-1]["holdout/map"]


def test_prepare__indexes_tar_shards_and_training_from_them_ends_with_the_weights_of_the_files(
    coco_folder: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(sorted((coco_folder / "train2017").iterdir()), tmp_path / "tars", 4)
    cache, pattern = tmp_path / "c", f"{tmp_path}/tars/train-{{00..03}}.tar"
    common = ("data=coco2017", f"data.root={coco_folder}", f"cache_dir={cache}", "data.holdout=0.25")
    files = run(tmp_path / "files", *SHORT, *common)
    (coco_folder / "train2017").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    content = prepare(wish(coco_folder, cache, shards=pattern))
    assert steps(content) == ["index of train", "index of val", "tar shards"]
    assert content["rows"][2]["note"] == "4 tar shards, 0.00 GB, mixed 8 at a time"
    assert "tar shards: 4 of 4 indexed" in capsys.readouterr().out
    tars = run(tmp_path / "tars_run", *SHORT, *common, f"data.shards='{pattern}'")
    assert "cache      none: 4 tar shards" in capsys.readouterr().out
    weights = [torch.load(folder.last, weights_only=True)["state_dict"] for folder in (files, tars)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    for split in ("holdout", "val"):
        one, other = files.read_predictions(split), tars.read_predictions(split)
        assert (one.image_ids == other.image_ids).all()
        assert abs(one.scores - other.scores).max() < 1e-6  # batches of other images
