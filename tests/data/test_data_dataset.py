import multiprocessing
import os
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from src.config.schema.data import AugmentConfig
from src.data.augment.recipe import eval_recipe, train_recipe
from src.data.coco.index import CocoIndex
from src.data.dataset import BatchLoader, MultiLabelDataset, as_it_is
from src.data.errors import ImageError
from src.data.frames import FileFrames
from src.data.images import reading, top_rows
from src.data.order import EpochBatchSampler
from tests.conftest import ROOT

SIZE, NUM_IMAGES = 48, 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for row in range(NUM_IMAGES):
        cv2.imwrite(str(root / f"{row}.png"), rng.integers(0, 256, (40 + row, 60, 3), np.uint8))
    (root / "3.png").write_bytes(b"")
    return root


def make_index() -> CocoIndex:
    names = [f"{row}.png" for row in range(NUM_IMAGES)]
    return CocoIndex(
        image_ids=np.arange(NUM_IMAGES) * 7 + 100,
        widths=np.full(NUM_IMAGES, 60, np.int32),
        heights=np.arange(40, 40 + NUM_IMAGES, dtype=np.int32),
        name_bytes=np.frombuffer("".join(names).encode(), np.uint8),
        name_offsets=np.cumsum([0, *map(len, names)]),
        ann_offsets=np.zeros(NUM_IMAGES + 1, np.int64),
        ann_class=np.zeros(0, np.int32),
        ann_area=np.zeros(0, np.float32),
        ann_crowd=np.zeros(0, bool),
        class_names=("a", "b", "c"),
        category_ids=np.array([1, 3, 7]),
        fingerprint="x",
    )


def make_dataset(folder, rows=None, **changes) -> MultiLabelDataset:
    rows = np.array([row for row in range(NUM_IMAGES) if row != 3] if rows is None else rows)
    targets = np.random.default_rng(1).integers(0, 2, (len(rows), 3), np.uint8)
    recipe = train_recipe(AugmentConfig(), SIZE, seed=5)
    options = {"rows": np.array(rows), "targets": targets, "recipe": recipe, "on_error": "raise", **changes}
    index = make_index()
    return MultiLabelDataset(index, FileFrames(index, folder, max_pixels=10**6), **options)


def loader(dataset, *, workers=0, epoch=0, batch_size=4) -> BatchLoader:
    order = EpochBatchSampler(len(dataset), batch_size, seed=2, shuffle=True, drop_last=False)
    order.set_epoch(epoch)
    return BatchLoader(
        dataset,
        batch_sampler=order,
        collate_fn=as_it_is,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        assert torch.equal(one[key], other[key]), key


def test_getitem__row_of_the_split_not_of_the_index(folder):
    dataset = make_dataset(folder, rows=[5, 2], recipe=eval_recipe("squash", SIZE))
    batch = dataset[(0, 1)]
    assert (batch["row"].tolist(), batch["image_id"].tolist()) == ([1], [114])
    assert batch["image"].shape == (1, 3, SIZE, SIZE)
    assert len(dataset) == 2


def test_getitem__augmentation_differs_between_epochs_rows_and_repeats(folder):
    dataset = make_dataset(folder, rows=[5, 5])
    keys = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 0, 1)]
    drawn = [dataset[key]["image"].numpy().tobytes() for key in keys]
    assert len(set(drawn)) == len(keys)
    assert dataset[(1, 0)]["image"].numpy().tobytes() == drawn[1]


def test_getitems__each_image_is_what_it_is_alone(folder):
    """What an image becomes does not depend on the batch it comes in."""
    dataset = make_dataset(folder)
    keys = [(0, 3), (4, 0, 2), (1, 7)]
    batch = dataset.__getitems__(keys)
    for i, key in enumerate(keys):
        assert torch.equal(dataset[key]["image"][0], batch["image"][i])


def test_getitem__size_is_checked_against_the_annotations(folder):
    dataset = make_dataset(folder, rows=[5])
    dataset._index.heights[5] = 44
    assert "annotations say 60x44" in dataset[(0, 0)].reason
    dataset._index.heights[5] = 0
    assert dataset[(0, 0)]["image"].shape[0] == 1


def test_getitems__shapes_dtypes_and_memory_format(folder):
    dataset = make_dataset(folder)
    batch = dataset.__getitems__([(0, row) for row in (4, 0, 7)])
    assert batch["image"].shape == (3, 3, SIZE, SIZE)
    assert batch["image"].dtype == batch["target"].dtype == torch.uint8
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert batch["row"].tolist() == [4, 0, 7]
    assert torch.equal(batch["target"], torch.from_numpy(dataset._targets[[4, 0, 7]]))
    assert batch["skipped"].tolist() == []


def test_getitems__half_size_decoding_only_where_the_crop_stays_large_enough(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 256, (8, 10, 3), np.uint8), (200, 160), interpolation=cv2.INTER_CUBIC)
    for row in range(NUM_IMAGES):
        cv2.imwrite(str(tmp_path / f"{row}.png"), photo)  # OpenCV goes by the content, not by the name
        (tmp_path / f"{row}.png").write_bytes(cv2.imencode(".jpg", photo)[1].tobytes())
    asked = []
    read = FileFrames.read
    monkeypatch.setattr(
        FileFrames, "read", lambda self, at, *, half, box: asked.append(half) or read(self, at, half=half)
    )
    for side, exact, expected in [(80, False, True), (86, False, False), (80, True, False)]:
        cfg = AugmentConfig(crop_min_scale=1.0)
        dataset = make_dataset(tmp_path, rows=[0], recipe=train_recipe(cfg, side, seed=5, exact=exact))
        dataset._index.widths[0], dataset._index.heights[0] = 200, 160
        whole = make_dataset(tmp_path, rows=[0], recipe=train_recipe(cfg, side, seed=5, exact=True))
        whole._index.widths[0], whole._index.heights[0] = 200, 160
        image = dataset[(0, 0)]["image"].int()
        assert asked.pop() is expected
        difference = (image - whole[(0, 0)]["image"].int()).abs().float()
        assert difference.mean() < 2
        assert bool(difference.max() == 0) is exact
        assert difference.max() < 20


@pytest.mark.parametrize("side", [16, 70])
def test_getitems__crops_are_the_same_from_files_cut_below_them(tmp_path, monkeypatch, side):
    """Small crops of whole images and, at side 16, of images decoded at half the size."""
    rng = np.random.default_rng(0)
    for row in range(NUM_IMAGES):
        photo = cv2.resize(rng.integers(0, 256, (8, 10, 3), np.uint8), (60, 144), interpolation=cv2.INTER_CUBIC)
        (tmp_path / f"{row}.png").write_bytes(cv2.imencode(".jpg", photo)[1].tobytes())
    cuts = []
    cut_below = top_rows.cut_below

    def counted(data, header, bottom):
        cut, rows = cut_below(data, header, bottom)
        cuts.append(rows < header.height)
        return cut, rows

    batches = []
    monkeypatch.setattr(reading, "decode_box", lambda _data, _header, _box: None)
    for function in (counted, lambda data, header, _bottom: (data, header.height)):
        monkeypatch.setattr(reading, "cut_below", function)
        recipe = train_recipe(AugmentConfig(crop_min_scale=0.08, flip=0.5), side, seed=5)
        dataset = make_dataset(tmp_path, recipe=recipe)
        dataset._index.heights[:] = 144
        batches.append(dataset.__getitems__([(epoch, row) for epoch in range(8) for row in (0, 1, 2)])["image"])
    assert 4 < sum(cuts) < len(cuts)
    assert torch.equal(*batches)


@pytest.mark.parametrize("workers", [1, 2])
def test_loader__same_batches_for_any_number_of_workers(folder, workers):
    dataset = make_dataset(folder)
    for epoch in (0, 3):
        alone = list(loader(dataset, epoch=epoch))
        several = list(loader(dataset, workers=workers, epoch=epoch))
        assert len(alone) == len(several) == 4
        for one, other in zip(alone, several, strict=True):
            assert_same(one, other)
            assert other["image"].is_contiguous(memory_format=torch.channels_last)


def test_loader__persistent_workers_augment_every_epoch_anew(folder):
    dataset = make_dataset(folder)
    batches = loader(dataset, workers=2)
    for epoch in range(3):
        batches.batch_sampler.set_epoch(epoch)
        for one, other in zip(batches, loader(dataset, epoch=epoch), strict=True):
            assert_same(one, other)


def test_loader__started_early_gives_the_batches_of_the_epoch_that_is_set_later(folder):
    dataset = make_dataset(folder)
    batches, before = loader(dataset, workers=2), set(multiprocessing.active_children())
    batches.start()
    assert len(set(multiprocessing.active_children()) - before) == 2
    for epoch in (3, 4):
        batches.batch_sampler.set_epoch(epoch)
        found = list(batches)
        assert len(found) == 4
        for one, other in zip(found, loader(dataset, epoch=epoch), strict=True):
            assert_same(one, other)


def test_loader__nothing_is_read_before_somebody_iterates(folder):
    batches = loader(make_dataset(folder, rows=range(NUM_IMAGES)), workers=1)
    batches.start()  # would raise, had it read: image 3 is broken
    batches.start()
    with pytest.raises(ImageError):
        list(batches)


def test_loader__stopped_it_has_no_processes_and_can_be_used_again(folder):
    batches, before = loader(make_dataset(folder), workers=1), set(multiprocessing.active_children())
    batches.start()
    assert set(multiprocessing.active_children()) - before
    batches.stop()
    assert not set(multiprocessing.active_children()) - before
    assert len(list(batches)) == 4


def test_loader__without_persistent_processes_start_does_nothing(folder):
    batches, before = loader(make_dataset(folder)), multiprocessing.active_children()
    batches.start()
    assert multiprocessing.active_children() == before
    assert len(list(batches)) == 4


def test_loader__global_random_state_is_not_touched(folder):
    dataset = make_dataset(folder)
    batches = loader(dataset, workers=1)
    batches.generator = torch.Generator().manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(batches)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 2])
def test_loader__raise_names_file_reason_and_image_id(folder, workers):
    dataset = make_dataset(folder, rows=range(NUM_IMAGES))
    with pytest.raises(ImageError) as caught:
        list(loader(dataset, workers=workers))
    assert caught.value.path == folder / "3.png"
    assert str(caught.value) == (
        f"{folder / '3.png'}: the file is empty (0 bytes) (image id 121); data.on_error=skip leaves broken images out"
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_loader__skip_leaves_the_broken_out_and_names_them(folder, workers):
    dataset = make_dataset(folder, rows=range(NUM_IMAGES), on_error="skip")
    batches = list(loader(dataset, workers=workers))
    assert torch.cat([batch["skipped"] for batch in batches]).tolist() == [3]
    seen = torch.cat([batch["row"] for batch in batches])
    assert sorted(seen.tolist()) == [row for row in range(NUM_IMAGES) if row != 3]
    targets = torch.cat([batch["target"] for batch in batches])
    assert torch.equal(targets, torch.from_numpy(dataset._targets)[seen])


def test_loader__a_batch_of_broken_images_only_is_empty_but_shaped(folder):
    (batch,) = loader(make_dataset(folder, rows=[3, 3], on_error="skip"))
    assert batch["image"].shape == (0, 3, SIZE, SIZE)
    assert batch["target"].shape == (0, 3)
    assert batch["image_id"].dtype == batch["row"].dtype == torch.int64
    assert sorted(batch["skipped"].tolist()) == [0, 1]


def test_loader__plain_dataloader_would_lose_the_error_type(folder):
    """Why BatchLoader exists; should PyTorch mend this one day, BatchLoader can go."""

    class Raising(torch.utils.data.Dataset):
        def __len__(self):
            return 1

        def __getitem__(self, _):
            raise ImageError(folder / "3.png", "broken")

    with pytest.raises(Exception, match="broken") as caught:
        list(DataLoader(Raising(), num_workers=1))
    assert type(caught.value) is RuntimeError


def test_image_error__survives_pickling(folder):
    error = pickle.loads(pickle.dumps(ImageError(folder / "3.png", "broken")))
    assert (error.path, error.reason, str(error)) == (folder / "3.png", "broken", f"{folder / '3.png'}: broken")


def test_loader__of_a_process_that_ends_in_the_middle_of_an_epoch_does_not_keep_it(tmp_path):
    """Its workers ignore the SIGTERM that Python sends them at its end, before it waits for them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\n"
        "from src.data.dataset import BatchLoader, as_it_is\n"
        "from src.data.images.reading import begin_worker\n"
        "class Ones(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 8\n"
        "    def __getitem__(self, at): return at\n"
        "held = iter(BatchLoader(Ones(), 2, num_workers=1, collate_fn=as_it_is, worker_init_fn=begin_worker))\n"
        "again = [held]; again.append(again)\n"
        "print(next(held))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == ("[0, 1]\n", "", 0)
