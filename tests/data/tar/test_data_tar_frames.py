"""Training from tar shards: the same batches as from files, resumable, each remote shard fetched once an epoch."""

import contextlib
import pickle
import shutil

import numpy as np
import pytest
import torch

from src.config.schema.data import AugmentConfig, SampleConfig
from src.config.schema.training import DebugConfig
from src.data.datamodule import MultiLabelDataModule
from src.data.errors import DataError, ImageError
from tests.data.conftest import write_shards

IMAGES, SHARDS, BATCH = 96, 6, 4


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Cache folder with the generated sample and its images in shards."""
    cache = tmp_path_factory.mktemp("cache")
    module = make(cache)
    module.setup()
    images = sorted(module.source.train_images.iterdir())
    write_shards(images, cache / "tars", SHARDS)
    return cache


def make(cache, /, *, workers=0, **data) -> MultiLabelDataModule:
    settings = {"train_images": IMAGES, "val_images": 16, "image_size": 32, "batch_size": BATCH, "holdout": 0.25}
    return MultiLabelDataModule(
        SampleConfig(**settings | data),
        AugmentConfig(brightness=0.2),
        DebugConfig(),
        seed=3,
        cache_dir=cache,
        num_workers=workers,
    )


def ready(cache, /, **options):
    module = make(cache, **options)
    module.setup("fit")
    return module


def tars(cache):
    return f"{cache}/tars/train-*.tar"


def epoch(module, number=0):
    loader = module.train_dataloader()
    module.train_order.set_epoch(number)
    return list(loader)


def taken(folder):
    """Bytes of files that are there, while others come and go."""
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def shown(batches, key):
    """What the images of these batches are called by ``key``, and their pixels."""
    return [pair for batch in batches for pair in zip(batch[key].tolist(), batch["image"], strict=True)]


def assert_same(ones, others):
    assert len(ones) == len(others) > 0
    for one, other in zip(ones, others, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches__are_those_of_the_files_bit_for_bit(sample, workers):
    files, shards = ready(sample, workers=workers), ready(sample, workers=workers, shards=tars(sample))
    for number in (0, 1):
        assert_same(epoch(files, number), epoch(shards, number))
    assert np.array_equal(files.train_targets, shards.train_targets)
    assert files.fingerprint == shards.fingerprint


def test_batches__in_windows_hold_the_pixels_of_the_files(sample):
    by_row = dict(shown(epoch(ready(sample)), "row"))
    module = ready(sample, shards=tars(sample), shard_window=2)
    seen = shown(epoch(module), "row")
    assert [row for row, _ in seen] != list(by_row)
    assert len(seen) == len({row for row, _ in seen})
    assert all(torch.equal(pixels, by_row[row]) for row, pixels in seen if row in by_row)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume__in_mid_epoch_goes_on_with_the_same_batches(sample, workers):
    options = {"shards": tars(sample), "shard_window": 2}
    whole = epoch(ready(sample, **options), 5)
    module = ready(sample, workers=workers, **options)
    module.resume_at(5, 7)
    assert_same(list(module.train_dataloader()), whole[7:])


def test_evaluation__holdout_from_shards_and_val_from_files_are_those_of_the_files(sample):
    files, shards = ready(sample), ready(sample, shards=tars(sample))
    assert_same(list(files.eval_loader("val")), list(shards.eval_loader("val")))
    ones, others = (dict(shown(module.eval_loader("holdout"), "image_id")) for module in (files, shards))
    assert ones.keys() == others.keys()
    assert all(torch.equal(pixels, others[image]) for image, pixels in ones.items())


def test_train_images__need_not_be_there_as_files(sample, tmp_path):
    shutil.copytree(sample, tmp_path / "cache")
    expected = epoch(ready(sample))
    module = make(tmp_path / "cache", shards=tars(tmp_path / "cache"))
    module.setup()
    shutil.rmtree(module.source.train_images)
    assert_same(epoch(module), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_remote__each_shard_comes_once_an_epoch_and_copies_stay_within_the_bound(sample, tmp_path, serve, workers):
    server = serve(sample / "tars")
    shutil.copytree(sample, tmp_path / "cache")
    largest = max(path.stat().st_size for path in (sample / "tars").iterdir())
    names = [path.name for path in (sample / "tars").iterdir()]
    remote = {"shards": f"{server.url}/train-{{00..05}}.tar", "shard_window": 1, "shard_cache_gb": 2.5 * largest / 1e9}
    module = ready(tmp_path / "cache", workers=workers, batch_size=2, **remote)
    assert server.fetched == dict.fromkeys(names, 1)  # to know what they hold, once for all runs
    server.fetched.clear()
    expected = epoch(ready(sample, shards=tars(sample), shard_window=1, batch_size=2))
    loader, seen, copies = module.train_dataloader(), [], tmp_path / "cache" / "shards" / "copies"
    for batch in loader:
        seen.append(batch)
        assert taken(copies) <= 2.5 * largest
    assert_same(seen, expected)
    assert server.fetched == dict.fromkeys(names, 1)


def test_remote__holdout_images_are_kept_so_that_later_epochs_need_no_shard_for_them(sample, tmp_path, serve):
    server = serve(sample / "tars")
    shutil.copytree(sample, tmp_path / "cache")
    size = sum(path.stat().st_size for path in (sample / "tars").iterdir())
    remote = {"shards": f"{server.url}/train-{{00..05}}.tar", "shard_window": 1, "shard_cache_gb": 0.5 * size / 1e9}
    module = ready(tmp_path / "cache", **remote)
    first = list(module.eval_loader("holdout"))
    server.fetched.clear()
    server.broken = True
    assert_same(list(module.eval_loader("holdout")), first)
    assert not server.fetched
    assert len(list((tmp_path / "cache" / "shards" / "kept").rglob("*"))) >= len(module.targets("holdout"))


def test_remote__a_bound_for_less_than_two_windows_is_refused(sample, tmp_path, serve):
    shutil.copytree(sample, tmp_path / "cache")
    pattern = f"{serve(sample / 'tars').url}/train-{{00..05}}.tar"
    with pytest.raises(DataError, match=r"shard_cache_gb=1e-05: 4 shards \(two windows\) take .*smaller data\.shard_w"):
        ready(tmp_path / "cache", shards=pattern, shard_window=2, shard_cache_gb=1e-5)


def test_errors__an_image_in_no_shard_and_a_broken_one_are_named(sample, tmp_path):
    with pytest.raises(
        DataError, match=r"instances_train2017\.json and data\.shards=.*: 80 of 96 images of the labels"
    ):
        ready(sample, shards=f"{sample}/tars/train-00.tar")
    shutil.copytree(sample, tmp_path / "cache")
    images = tmp_path / "images"
    shutil.copytree(ready(sample).source.train_images, images)
    broken = sorted(images.iterdir())[5]
    broken.write_bytes(broken.read_bytes()[:300])
    write_shards(sorted(images.iterdir()), tmp_path / "tars", 2)
    module = ready(tmp_path / "cache", shards=tars(tmp_path), holdout=0.0)
    with pytest.raises(ImageError, match=rf"^{broken.name}: .*\(in {tmp_path}/tars/train-01\.tar\) \(image id"):
        epoch(module)
    skipping = ready(tmp_path / "cache", shards=tars(tmp_path), holdout=0.0, on_error="skip")
    assert sum(len(batch["skipped"]) for batch in epoch(skipping)) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_errors__a_shard_cut_after_it_was_indexed_is_named(sample, tmp_path, workers):
    shutil.copytree(sample, tmp_path / "cache")
    module = ready(tmp_path / "cache", workers=workers, shards=tars(tmp_path / "cache"))
    path = tmp_path / "cache" / "tars" / "train-03.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"tars/train-03\.tar: ends before .* does; it has changed since .* indexed$"):
        epoch(module)


def test_frames__travel_to_workers_that_are_not_forked(sample):
    frames = ready(sample, shards=tars(sample))._splits["train"].tars
    other = pickle.loads(pickle.dumps(frames))
    assert np.array_equal(frames.read(3)[0], other.read(3)[0])
    assert frames.size(3) == other.size(3)
