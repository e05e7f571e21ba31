"""Which data a configuration means, and what is said when it is not there."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from src.config.schema.data import AutoConfig, CocoConfig, DataConfig, SampleConfig
from src.data.errors import DataError
from src.data.source import Source, locate


def make_coco(root: Path, *, without: str = "") -> None:
    parts = ["annotations/instances_train2017.json", "annotations/instances_val2017.json"]
    for part in parts:
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).write_text("{}")
    for part in ("train2017", "val2017"):
        (root / part).mkdir()
    if without:
        path = root / without
        path.rmdir() if path.is_dir() else path.unlink()


def complaint(data: DataConfig, cache_dir: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        locate(data, cache_dir=cache_dir)
    return str(caught.value).splitlines()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the generator of the sample is asked for, without drawing a picture."""
    asked: list[dict[str, Any]] = []

    def ensure_sample(cache_dir: Path, **options: Any) -> Path:
        asked.append(options)
        return cache_dir / "sample"

    module = ModuleType("src.data.sample.synthetic")
    module.ensure_sample = ensure_sample  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "src.data.sample.synthetic", module)
    return asked


@pytest.mark.parametrize("kind", [CocoConfig, AutoConfig])
def test_locate__coco_under_root(tmp_path: Path, kind: type[CocoConfig]) -> None:
    make_coco(tmp_path / "coco")
    source = locate(kind(root=str(tmp_path / "coco")), cache_dir=tmp_path)
    assert source == Source(
        name="coco",
        is_sample=False,
        train_annotations=tmp_path / "coco/annotations/instances_train2017.json",
        train_images=tmp_path / "coco/train2017",
        val_annotations=tmp_path / "coco/annotations/instances_val2017.json",
        val_images=tmp_path / "coco/val2017",
    )


def test_locate__other_layout_by_configuration(tmp_path: Path) -> None:
    make_coco(tmp_path)
    data = CocoConfig(root=str(tmp_path), train_images="val2017", val_images="train2017")
    assert locate(data, cache_dir=tmp_path).train_images == tmp_path / "val2017"


def test_locate__root_of_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_coco(tmp_path / "coco")
    assert locate(AutoConfig(root="~/coco"), cache_dir=tmp_path).train_images == tmp_path / "coco/train2017"


def test_locate__missing_root_names_the_ways_out(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    assert complaint(CocoConfig(root=str(root)), tmp_path) == [
        f"data.root: no folder {root}; data.root=PATH if you have COCO elsewhere, data=sample for the built-in sample"
    ]


@pytest.mark.parametrize(
    "part", ["annotations/instances_train2017.json", "annotations/instances_val2017.json", "train2017", "val2017"]
)
@pytest.mark.parametrize("kind", [CocoConfig, AutoConfig])
def test_locate__missing_part_is_named(tmp_path: Path, kind: type[CocoConfig], part: str) -> None:
    make_coco(tmp_path, without=part)
    lines = complaint(kind(root=str(tmp_path)), tmp_path)
    assert len(lines) == 1
    assert lines[0].startswith(f"data.root: no {part} under {tmp_path}; data.root=PATH")


@pytest.mark.parametrize(
    ("key", "value", "answer"),
    [
        ("train_annotations", "/nope.json", "data.train_annotations: no /nope.json; data.root=PATH"),
        ("val_images", "val", "data.val_images: no val under {root}; data.root=PATH"),
    ],
)
def test_locate__another_name_for_a_part_is_blamed_itself(tmp_path: Path, key: str, value: str, answer: str) -> None:
    make_coco(tmp_path)
    (line,) = complaint(CocoConfig(root=str(tmp_path), **{key: value}), tmp_path)
    assert line.startswith(answer.format(root=tmp_path))


def test_locate__all_missing_parts_at_once(tmp_path: Path) -> None:
    lines = complaint(CocoConfig(root=str(tmp_path)), tmp_path)
    assert len(lines) == 4
    assert ["data=sample" in line for line in lines] == [False, False, False, True]


def test_locate__auto_takes_the_sample_where_coco_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: list[dict[str, Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = locate(AutoConfig(), cache_dir=tmp_path / "cache")
    assert source.is_sample
    assert source.name == "sample"
    assert source.val_annotations == tmp_path / "cache/sample/annotations/instances_val2017.json"
    defaults = SampleConfig()
    expected = {"train_images": defaults.train_images, "val_images": defaults.val_images, "seed": defaults.sample_seed}
    assert requests == [expected]


def test_locate__auto_takes_coco_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: list[dict[str, Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_coco(Path(AutoConfig().root))
    assert not locate(AutoConfig(), cache_dir=tmp_path).is_sample
    assert requests == []


def test_locate__auto_never_replaces_a_typed_root(tmp_path: Path, requests: list[dict[str, Any]]) -> None:
    assert "no folder" in complaint(AutoConfig(root=str(tmp_path / "typo")), tmp_path)[0]
    assert requests == []


def test_locate__auto_with_half_a_download_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: list[dict[str, Any]]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_coco(Path(AutoConfig().root), without="train2017")
    assert "no train2017 under data/coco2017" in complaint(AutoConfig(), tmp_path)[0]
    assert requests == []


def test_locate__sample_passes_its_options(tmp_path: Path, requests: list[dict[str, Any]]) -> None:
    source = locate(SampleConfig(train_images=100, val_images=20, sample_seed=3), cache_dir=tmp_path)
    assert source.train_images == tmp_path / "sample/train2017"
    assert requests == [{"train_images": 100, "val_images": 20, "seed": 3}]


def test_locate__unknown_configuration_is_a_programming_error(tmp_path: Path) -> None:
    @dataclass(slots=True, kw_only=True)
    class OtherConfig(DataConfig):
        pass

    with pytest.raises(TypeError, match="OtherConfig"):
        locate(OtherConfig(), cache_dir=tmp_path)
