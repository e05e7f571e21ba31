"""The store: right pixels, resumable, checked, stale where a file has changed."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.config.schema.data import AugmentConfig, DataConfig
from src.data.augment.recipe import eval_recipe, train_recipe
from src.data.coco.index import CocoIndex
from src.data.dataset import MultiLabelDataset
from src.data.errors import DataError, ImageError
from src.data.frames import FileFrames
from src.data.store import build, shards
from src.data.store.build import StoreReport, build_store, encode, missing_shards, store_bytes
from src.data.store.choice import Room, cache_side, choose_cache, store_spec
from src.data.store.shards import DamagedShardError, StoreFrames, StoreSpec, open_store, plan_shards, read_record
from tests.conftest import ROOT

NUM_IMAGES, SHARD, SIDE, BROKEN = 23, 5, 32, 7
RAW, JPEG = StoreSpec("raw", SIDE, 10**6), StoreSpec("jpeg", SIDE, 10**6)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (shards, build):
        monkeypatch.setattr(module, "SHARD_IMAGES", SHARD, raising=False)


def make_index(names: list[str], widths: np.ndarray, heights: np.ndarray) -> CocoIndex:
    return CocoIndex(
        image_ids=np.arange(len(names)) + 100,
        widths=widths.astype(np.int32),
        heights=heights.astype(np.int32),
        name_bytes=np.frombuffer("".join(names).encode(), np.uint8),
        name_offsets=np.cumsum([0, *map(len, names)]),
        ann_offsets=np.zeros(len(names) + 1, np.int64),
        ann_class=np.zeros(0, np.int32),
        ann_area=np.zeros(0, np.float32),
        ann_crowd=np.zeros(0, bool),
        class_names=("a",),
        category_ids=np.array([1]),
        fingerprint="x",
    )


def draw(folder: Path, row: int) -> None:
    rng = np.random.default_rng(row)
    coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
    cv2.imwrite(str(folder / f"{row}.jpg"), cv2.resize(coarse, (60 + row, 44), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def images(tmp_path: Path) -> tuple[CocoIndex, Path]:
    folder = tmp_path / "images"
    folder.mkdir()
    for row in range(NUM_IMAGES):
        draw(folder, row)
    (folder / f"{BROKEN}.jpg").write_bytes(b"")
    rows = np.arange(NUM_IMAGES)
    return make_index([f"{row}.jpg" for row in rows], 60 + rows, np.full(NUM_IMAGES, 44)), folder


def built(images: tuple[CocoIndex, Path], spec: StoreSpec = RAW, **options: object) -> tuple[StoreReport, Path]:
    index, image_dir = images
    folder = image_dir.parent / f"store-{spec.kind}"
    return build_store(index, image_dir, folder, spec, workers=2, **options), folder  # type: ignore[arg-type]


def opened(images: tuple[CocoIndex, Path], spec: StoreSpec = RAW) -> StoreFrames:
    return open_store(*images, images[1].parent / f"store-{spec.kind}", spec)


@pytest.mark.parametrize("spec", [RAW, JPEG], ids=["raw", "jpeg"])
def test_build_store__every_image_is_what_its_file_makes(images, spec) -> None:
    seen: list[tuple[int, int]] = []
    report, _ = built(images, spec, on_images=lambda done, total: seen.append((done, total)))
    assert (report.images, report.shards, report.written, report.mended) == (NUM_IMAGES, 5, 5, 0)
    assert seen[-1] == (NUM_IMAGES, NUM_IMAGES)
    frames, files = opened(images, spec), FileFrames(*images, max_pixels=10**6)
    assert len(frames) == NUM_IMAGES
    for row in range(NUM_IMAGES):
        if row == BROKEN:
            continue
        assert frames.size(row) == files.size(row) == (60 + row, 44)
        source, found = files.read(row)[0], frames.read(row)[0]
        if spec is RAW:
            np.testing.assert_array_equal(found, cv2.resize(source, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        else:
            size = (round((60 + row) * SIDE / 44), SIDE)
            assert found.shape[:2] == size[::-1]
            expected = cv2.resize(source, size, interpolation=cv2.INTER_AREA)
            assert np.abs(found.astype(int) - expected).mean() < 8  # quality 90, colour at half resolution


def test_build_store__broken_images_are_noted_and_given_back_as_errors(images) -> None:
    report, _ = built(images)
    assert report.broken == {BROKEN: "the file is empty (0 bytes)"}
    with pytest.raises(ImageError) as caught:
        opened(images).size(BROKEN)
    assert str(caught.value) == f"{images[1] / f'{BROKEN}.jpg'}: the file is empty (0 bytes)"


def test_build_store__a_second_time_writes_nothing(images) -> None:
    _, folder = built(images)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.suffix in (".bin", ".json")}
    assert built(images)[0].written == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_build_store__a_changed_file_makes_its_shard_stale_and_no_other(images) -> None:
    built(images)
    draw(images[1], BROKEN)  # the broken image is mended
    with pytest.raises(DataError, match=r"1 of 5 shards are missing or older than their images; python"):
        opened(images)
    report, _ = built(images)
    assert (report.written, report.mended, report.broken) == (1, 0, {})
    assert opened(images).read(BROKEN)[0].shape == (SIDE, SIDE, 3)


def test_build_store__other_settings_are_another_store(images) -> None:
    built(images)
    index, image_dir = images
    folder = image_dir.parent / "store-raw"
    assert missing_shards(plan_shards(index, image_dir, folder, RAW)) == 0
    for other in (StoreSpec("raw", SIDE + 1, 10**6), StoreSpec("raw", SIDE, 10**5), JPEG):
        assert missing_shards(plan_shards(index, image_dir, folder, other)) == 5


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGE = {
    "flipped": flip_byte,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "record": lambda path: path.with_suffix(".json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_open_store__a_damaged_shard_is_refused_by_its_path_and_mended(images, damage) -> None:
    _, folder = built(images)
    victim = folder / "00002.bin"
    good = victim.read_bytes()
    DAMAGE[damage](victim)
    os.utime(victim, ns=(1, 1))
    with pytest.raises(DamagedShardError, match=r"00002\.(bin|json): damaged shard"):
        opened(images)
    report, _ = built(images)
    assert (report.written, report.mended) == (1, 1)
    assert victim.read_bytes() == good


def test_read_record__digest_is_compared_once_per_modification_time(images, monkeypatch) -> None:
    _, folder = built(images)
    plan = plan_shards(*images, folder, RAW)[0]
    hashed: list[Path] = []
    digest = shards.file_digest
    monkeypatch.setattr(shards, "file_digest", lambda path: hashed.append(path) or digest(path))
    read_record(plan)
    assert hashed == []
    os.utime(plan.path, ns=(5, 5))
    for _ in range(3):
        assert read_record(plan) is not None
    assert hashed == [plan.path]
    assert read_record(plan, verify=True) is not None
    assert len(hashed) == 2


def test_build_store__verify_finds_what_looks_untouched(images) -> None:
    _, folder = built(images)
    victim = folder / "00001.bin"
    time_ns = victim.stat().st_mtime_ns
    flip_byte(victim)
    os.utime(victim, ns=(time_ns, time_ns))
    assert built(images)[0].mended == 0
    assert built(images, verify=True)[0].mended == 1


def test_build_store__no_space_is_said_before_anything_is_written(images, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(
        DataError, match=r"23 images as raw at 32 px take 0\.00 GB, but 0\.00 GB are free; data\.cache=jpeg"
    ):
        built(images)
    assert not list((images[1].parent / "store-raw").glob("*.bin"))


def test_build_store__an_unwritable_folder_is_an_error_with_its_path(images) -> None:
    (images[1].parent / "store-raw").write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"store-raw: the cache cannot be written: .*; cache_dir=PATH"):
        built(images)


def test_build_store__a_crash_within_a_shard_leaves_the_finished_ones(images, monkeypatch) -> None:
    calls: list[int] = []

    def crashing(pixels: np.ndarray, spec: StoreSpec) -> np.ndarray:
        calls.append(1)
        if len(calls) == 2 * SHARD + 2:
            raise RuntimeError("power cut")
        return encode(pixels, spec)

    monkeypatch.setattr(build, "encode", crashing)
    index, image_dir = images
    folder = image_dir.parent / "store-raw"
    with pytest.raises(RuntimeError, match="power cut"):
        build_store(index, image_dir, folder, RAW, workers=1)
    assert not list(folder.glob(".*"))
    monkeypatch.setattr(build, "encode", encode)
    report, _ = built(images)
    assert 0 < report.written < report.shards


def test_build_store__two_builders_share_the_work_of_one(images) -> None:
    """The second waits for the first and finds its shards."""
    with ThreadPoolExecutor(2) as pool:
        reports = [job.result() for job in [pool.submit(built, images) for _ in range(2)]]
    assert sorted(report.written for report, _ in reports) == [0, 5]


BUILD_SLOWLY = """
import pickle, sys, time
from src.data.store import build, shards
encode = build.encode
build.encode = lambda *arguments: (time.sleep(0.01), encode(*arguments))[1]
shards.SHARD_IMAGES = 5
index, image_dir, folder, spec = pickle.loads(sys.stdin.buffer.read())
build.build_store(index, image_dir, folder, spec, workers=1)
"""


def test_build_store__goes_on_after_sigkill(images) -> None:
    """A real process, killed while it writes: its finished shards are kept, what it left half done is removed."""
    index, image_dir = images
    folder = image_dir.parent / "store-raw"
    process = subprocess.Popen([sys.executable, "-c", BUILD_SLOWLY], cwd=ROOT, stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(pickle.dumps((index, image_dir, folder, RAW)))
    process.stdin.close()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = len(list(folder.glob("*.json")))
    assert 2 <= done < 5
    (folder / ".00004.bin-0123").write_bytes(b"x")
    report, _ = built(images)
    assert report.written == 5 - done
    assert not list(folder.glob(".*"))
    assert len(opened(images)) == NUM_IMAGES


def test_dataset__without_crops_a_raw_cache_gives_the_bits_of_the_files(images) -> None:
    """At the network's size, with whole images, training from the cache is training from the files."""
    index, image_dir = images
    built(images)
    cfg = AugmentConfig(crop_min_scale=1.0, flip=0.5, brightness=0.3, contrast=0.3)
    rows = np.arange(NUM_IMAGES)
    batches = []
    for frames in (FileFrames(index, image_dir, max_pixels=10**6), opened(images)):
        for recipe in (
            train_recipe(cfg, SIDE, seed=3, exact=True),
            eval_recipe("squash", SIDE, original=isinstance(frames, FileFrames)),
        ):
            dataset = MultiLabelDataset(
                index, frames, rows=rows, targets=np.zeros((NUM_IMAGES, 1), np.uint8), recipe=recipe, on_error="skip"
            )
            batches.append(dataset.__getitems__([(4, row) for row in range(NUM_IMAGES)]))
    for one, other in ((batches[0], batches[2]), (batches[1], batches[3])):
        np.testing.assert_array_equal(one["image"].numpy(), other["image"].numpy())
        assert one["skipped"].tolist() == other["skipped"].tolist() == [BROKEN]


def test_cache_side__image_size_without_crops_and_more_with_them() -> None:
    whole, crops = AugmentConfig(crop_min_scale=1.0), AugmentConfig(crop_min_scale=0.5)
    assert cache_side(DataConfig(image_size=224), whole) == 224
    assert cache_side(DataConfig(image_size=224), crops) == 256
    assert cache_side(DataConfig(image_size=96), crops) == 128
    assert cache_side(DataConfig(image_size=96, cache_side=300), crops) == 300
    assert store_spec(DataConfig(image_size=96), crops) is None
    spec = store_spec(DataConfig(image_size=96, cache="device"), whole)
    assert spec == StoreSpec("raw", 96, DataConfig().max_pixels)


def test_choose_cache__by_room_images_epochs_and_what_is_there() -> None:
    def chosen(**changes: object) -> str:
        options = {"images": 118_287, "side": 256, "epochs": 15, "ready": frozenset(), "limit": 0}
        options["room"] = Room(disk=10**12, memory=64 * 10**9)
        return choose_cache(**(options | changes)).kind  # type: ignore[arg-type]

    assert store_bytes(118_287, StoreSpec("raw", 256, 0)) == 118_287 * 256 * 256 * 3
    assert chosen() == "raw"
    assert chosen(room=Room(disk=10**12, memory=8 * 10**9)) == "jpeg"
    assert chosen(room=Room(disk=30 * 10**9, memory=64 * 10**9)) == "jpeg"
    assert chosen(room=Room(disk=10**9, memory=64 * 10**9)) == "none"
    assert chosen(epochs=2) == chosen(limit=1000) == "none"
    assert chosen(epochs=2, ready=frozenset({"jpeg"})) == "jpeg"
    assert chosen(epochs=2, ready=frozenset({"jpeg", "raw"})) == "raw"
    assert chosen(room=Room(disk=0, memory=0), ready=frozenset({"raw", "jpeg"})) == "jpeg"


def test_damaged_shard_error__travels_from_a_worker_whole() -> None:
    error = pickle.loads(pickle.dumps(DamagedShardError(Path("00002.bin"), "its digest is another")))
    assert type(error) is DamagedShardError
    assert str(error).startswith("00002.bin: damaged shard (its digest is another)")
