import json
import os

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from src.config.schema.data import AugmentConfig, CocoConfig, SampleConfig
from src.config.schema.training import DebugConfig
from src.data.datamodule import MultiLabelDataModule
from src.data.errors import DataError, ImageError
from src.data.sample.synthetic import TOY_CLASSES, ensure_sample
from src.data.store.build import build_store
from src.data.store.choice import store_spec
from src.data.store.shards import store_folder

TRAIN_IMAGES, VAL_IMAGES, SIZE = 96, 24, 32


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    make(folder).setup()
    return folder


def make(cache, /, *, seed=1, workers=0, debug=None, augment=None, **data) -> MultiLabelDataModule:
    settings = {
        "train_images": TRAIN_IMAGES,
        "val_images": VAL_IMAGES,
        "image_size": SIZE,
        "batch_size": 10,
        "eval_batch_size": 16,
        "holdout": 0.25,
        **data,
    }
    return MultiLabelDataModule(
        SampleConfig(**settings),
        augment or AugmentConfig(),
        debug or DebugConfig(),
        seed=seed,
        cache_dir=cache,
        num_workers=workers,
    )


def ready(cache, /, **options) -> MultiLabelDataModule:
    module = make(cache, **options)
    module.setup("fit")
    return module


def rows(loader):
    return [batch["row"].tolist() for batch in loader]


def assert_same(ones, others):
    ones, others = list(ones), list(others)
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_setup__splits_classes_and_counts(cache):
    module = ready(cache)
    assert module.source.is_sample
    assert module.num_classes == len(module.class_names) == len(TOY_CLASSES)
    assert module.class_names == tuple(toy.name for toy in TOY_CLASSES)
    sizes = [len(module.targets(split)) for split in ("train", "holdout", "val")]
    assert sizes[0] + sizes[1] == TRAIN_IMAGES
    assert 0.2 * TRAIN_IMAGES <= sizes[1] <= 0.3 * TRAIN_IMAGES
    assert sizes[2] == VAL_IMAGES
    assert not set(module.image_ids("train")) & set(module.image_ids("holdout"))
    assert module.monitor_split == "holdout"
    counts = module.counts()
    assert [counts[f"{split}_images"] for split in ("train", "holdout", "val")] == sizes
    assert counts["train_dropped_empty"] == 0
    np.testing.assert_array_equal(module.train_targets, module.targets("train"))


def test_setup__twice_does_nothing(cache):
    module = ready(cache)
    before = module.targets("train")
    module.setup("test")
    assert module.targets("train") is before


def test_path__is_the_image_with_that_id(cache):
    module = ready(cache)
    for split in ("train", "holdout", "val"):
        assert int(module.path(split, 3).stem) == module.image_ids(split)[3]
        assert module.path(split, 3).is_file()


def test_split__unknown_name_is_an_error(cache):
    with pytest.raises(DataError, match="no split 'test' in this run; it has train, holdout, val"):
        ready(cache).eval_loader("test")


def test_setup__without_holdout_val_is_monitored(cache):
    module = ready(cache, holdout=0.0)
    assert module.monitor_split == "val"
    assert len(module.targets("train")) == TRAIN_IMAGES
    assert rows(module.val_dataloader()[0]) == rows(module.eval_loader("val"))


def test_setup__limit_comes_after_the_holdout(cache):
    whole, limited = ready(cache), ready(cache, limit=20)
    np.testing.assert_array_equal(whole.image_ids("holdout"), limited.image_ids("holdout"))
    assert len(limited.targets("train")) == 20
    assert set(limited.image_ids("train")) < set(whole.image_ids("train"))
    assert set(ready(cache, limit=20, seed=2).image_ids("train")) != set(limited.image_ids("train"))
    assert len(ready(cache, limit=10_000).targets("train")) == len(whole.targets("train"))


def test_setup__class_subset_applies_to_train_and_val(cache):
    module = ready(cache, classes=["red ball", "blue brick"])
    assert module.class_names == ("red ball", "blue brick")
    assert module.targets("train").shape[1] == module.targets("val").shape[1] == 2


def test_setup__empty_drop_is_counted(cache):
    module = ready(cache, empty="drop")
    dropped = module.counts()["train_dropped_empty"]
    assert dropped > 0
    assert sum(len(module.targets(split)) for split in ("train", "holdout")) == TRAIN_IMAGES - dropped
    assert module.targets("train").any(1).all()


def test_overfit__trains_and_scores_on_the_same_images(cache):
    module = ready(cache, debug=DebugConfig(overfit_images=12))
    assert module.monitor_split == "train"
    assert len(module.targets("train")) == 12
    seen = [row for batch in rows(module.val_dataloader()[0]) for row in batch]
    assert seen == list(range(12))
    with pytest.raises(DataError, match="holdout"):
        module.targets("holdout")


def test_permute_targets__shuffles_train_and_holdout_leaves_val(cache):
    plain, permuted = ready(cache), ready(cache, debug=DebugConfig(permute_targets=True))
    for split in ("train", "holdout"):
        one, other = plain.targets(split), permuted.targets(split)
        assert (one != other).any()
        np.testing.assert_array_equal(np.sort(one, 0), np.sort(other, 0))
        np.testing.assert_array_equal(plain.image_ids(split), permuted.image_ids(split))
    np.testing.assert_array_equal(plain.targets("val"), permuted.targets("val"))
    again = ready(cache, debug=DebugConfig(permute_targets=True))
    np.testing.assert_array_equal(again.targets("train"), permuted.targets("train"))


def test_fingerprint__says_what_the_splits_hold(cache):
    reference = ready(cache).fingerprint
    assert ready(cache).fingerprint == reference == ready(cache, batch_size=3, workers=1).fingerprint
    others = [
        ready(cache, seed=2),
        ready(cache, limit=20),
        ready(cache, holdout=0.1),
        ready(cache, crowd="drop"),
        ready(cache, debug=DebugConfig(permute_targets=True)),
    ]
    assert len({reference, *(module.fingerprint for module in others)}) == 6


def test_eval_loader__every_image_once_in_order_without_randomness(cache):
    module = ready(cache)
    for split in ("train", "holdout", "val"):
        batches = list(module.eval_loader(split))
        assert [row for batch in batches for row in batch["row"].tolist()] == list(range(len(module.targets(split))))
        assert torch.equal(torch.cat([batch["target"] for batch in batches]), torch.from_numpy(module.targets(split)))
        assert torch.cat([batch["image_id"] for batch in batches]).tolist() == module.image_ids(split).tolist()
    assert_same(module.eval_loader("val"), ready(cache, seed=9).eval_loader("val"))


def test_train_dataloader__shuffled_complete_batches(cache):
    module = ready(cache)
    loader = module.train_dataloader()
    batches = rows(loader)
    assert len(batches) == len(loader) == len(module.train_targets) // 10
    assert {len(batch) for batch in batches} == {10}
    seen = [row for batch in batches for row in batch]
    assert seen != sorted(seen)
    assert len(set(seen)) == len(seen)


def test_max_steps__ends_training_and_evaluation_early(cache):
    module = ready(cache, debug=DebugConfig(max_steps=1))
    assert len(list(module.train_dataloader())) == len(list(module.eval_loader("val"))) == 1


def test_train_dataloader__workers_and_epochs(cache):
    alone, pair = ready(cache), ready(cache, workers=2)
    one, two = alone.train_dataloader(), pair.train_dataloader()
    epochs = []
    for epoch in range(2):
        alone.train_order.set_epoch(epoch)
        pair.train_order.set_epoch(epoch)
        epochs.append([batch["row"] for batch in one])
        assert_same(one, two)
    assert not all(torch.equal(a, b) for a, b in zip(*epochs, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_at__the_rest_of_the_epoch_is_the_same(cache, workers):
    whole = ready(cache)
    loader = whole.train_dataloader()
    whole.train_order.set_epoch(3)
    expected = list(loader)
    resumed = ready(cache, workers=workers)
    resumed.resume_at(3, 2)
    rest = resumed.train_dataloader()
    assert_same(rest, expected[2:])
    assert len(rest) == len(expected)
    assert_same(rest, expected)


SAMPLED = {"sampler": "repeat_factor", "repeat_threshold": 0.3, "batch_size": 12}


@pytest.mark.parametrize("sampler", ["class_aware", "repeat_factor"])
def test_sampler__every_epoch_has_as_many_batches_and_shows_the_expected_counts(cache, sampler):
    module = ready(cache, sampler=sampler, repeat_threshold=0.3)
    loader = module.train_dataloader()
    assert len(loader) == module.images_per_epoch // 10
    num_images = len(module.train_targets)
    assert (module.images_per_epoch > num_images) == (sampler == "repeat_factor")
    shown = []
    for epoch in range(200):
        module.train_order.set_epoch(epoch)
        batches = list(module.train_order)
        assert len(batches) == len(loader)
        shown.append(module.train_targets[[key[1] for batch in batches for key in batch]].mean(axis=0))
    expected = module.train_draws @ module.train_targets / module.images_per_epoch
    error = np.std(shown, axis=0) / np.sqrt(len(shown))
    assert (np.abs(np.mean(shown, axis=0) - expected) <= 4.5 * error + 1e-9).all()


def test_sampler__workers_and_epochs(cache):
    alone, pair = ready(cache, **SAMPLED), ready(cache, workers=2, **SAMPLED)
    one, two = alone.train_dataloader(), pair.train_dataloader()
    for epoch in range(2):
        alone.train_order.set_epoch(epoch)
        pair.train_order.set_epoch(epoch)
        assert_same(one, two)


def test_sampler__visits_of_an_image_are_augmented_differently(cache):
    """The first visit as without a sampler, so that its pixels do not depend on it."""
    sampled, plain = ready(cache, **SAMPLED), ready(cache)
    visits = {}
    for batch in sampled.train_dataloader():
        for row, image in zip(batch["row"].tolist(), batch["image"], strict=True):
            visits.setdefault(row, []).append(image.numpy().tobytes())
    repeated = [images for images in visits.values() if len(images) > 1]
    assert len(repeated) > 10
    assert all(len(set(images)) == len(images) for images in repeated)
    for batch in plain.train_dataloader():
        for row, image in zip(batch["row"].tolist(), batch["image"], strict=True):
            assert visits.get(row, [image.numpy().tobytes()])[0] == image.numpy().tobytes()


def test_sampler__resume_in_mid_epoch(cache):
    whole, resumed = ready(cache, **SAMPLED), ready(cache, workers=2, **SAMPLED)
    loader = whole.train_dataloader()
    whole.train_order.set_epoch(3)
    resumed.resume_at(3, 4)
    assert_same(resumed.train_dataloader(), list(loader)[4:])


class Recorder(pl.LightningModule):
    """Notes which rows it is fed, per epoch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.fed: list[tuple[int, list[int]]] = []

    def training_step(self, batch, _):
        self.fed.append((self.current_epoch, batch["row"].tolist()))
        return self.layer(batch["image"].float().mean().reshape(1, 1)).sum()

    def validation_step(self, batch, _):
        self.fed.append((-1, batch["row"].tolist()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(tmp_path, module, **options):
    recorder = Recorder()
    settings = {"max_epochs": 3, "num_sanity_val_steps": 0, "limit_val_batches": 1, **options}
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **settings,
    )
    trainer.fit(recorder, datamodule=module)
    return recorder.fed


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning__sets_the_epoch_of_the_order_once_per_epoch(cache, tmp_path, workers):
    fed = fit(tmp_path, ready(cache, workers=workers))
    reference = ready(cache)
    loader = reference.train_dataloader()
    for epoch in range(3):
        reference.train_order.set_epoch(epoch)
        assert [batch for at, batch in fed if at == epoch] == rows(loader)


def test_image_error__ends_a_run_with_its_own_type(tmp_path):
    root = ensure_sample(tmp_path, train_images=64, val_images=16, seed=3)
    images = {
        image["id"]: image
        for image in json.loads((root / "annotations/instances_train2017.json").read_text())["images"]
    }
    broken = next(iter(images.values()))
    (root / "train2017" / broken["file_name"]).write_bytes(b"")
    data = CocoConfig(root=str(root), image_size=SIZE, batch_size=8, holdout=0.0)

    def module(**changes):
        for name, value in changes.items():
            setattr(data, name, value)
        made = MultiLabelDataModule(
            data, AugmentConfig(), DebugConfig(), seed=1, cache_dir=tmp_path / "cache", num_workers=1
        )
        made.setup()
        return made

    with pytest.raises(ImageError, match=f"0 bytes.*image id {broken['id']}"):
        fit(tmp_path, module(), max_epochs=1)
    skipping = module(on_error="skip")
    skipped = torch.cat([batch["skipped"] for batch in skipping.train_dataloader()])
    assert [skipping.path("train", row).name for row in skipped.tolist()] == [broken["file_name"]]


def prepared(cache, kind, **options) -> MultiLabelDataModule:
    """A module that reads a cache, which is written first."""
    module = ready(cache, cache=kind, **options)
    spec = store_spec(module._data, module._augment)
    folder = store_folder(module.source.train_annotations, cache, spec)
    index = module._of("train").index
    build_store(index, module.source.train_images, folder, spec, workers=1)
    return module


@pytest.mark.parametrize("kind", ["raw", "jpeg", "device"])
def test_cache__same_batches_for_any_number_of_workers_and_from_any_start(cache, kind):
    alone = prepared(cache, kind).train_dataloader()
    alone.batch_sampler.set_epoch(2)
    expected = list(alone)
    for workers in (0, 2):
        module = prepared(cache, kind, workers=workers)
        module.resume_at(2, 3)
        assert_same(expected[3:], module.train_dataloader())


def test_cache__device_gives_batches_with_the_pixels_of_the_raw_cache(cache):
    raw, device = prepared(cache, "raw"), prepared(cache, "device")
    for loader_of in (MultiLabelDataModule.train_dataloader, lambda module: module.val_dataloader()[0]):
        for one, ticket in zip(loader_of(raw), loader_of(device), strict=True):
            other = device.transfer_batch_to_device(ticket, torch.device("cpu"), 0)
            assert one.keys() == other.keys()
            assert (one["image"].int() - other["image"].int()).abs().max() <= 2
            assert other["image"].is_contiguous(memory_format=torch.channels_last)
            assert all(torch.equal(one[key], other[key]) for key in one if key != "image")


def test_cache__final_scores_and_val_come_from_the_files(cache):
    module, plain = prepared(cache, "jpeg"), ready(cache)
    for split in ("holdout", "val"):
        assert_same(plain.eval_loader(split), module.eval_loader(split))
    module.val_curve = plain.val_curve = True
    assert_same(plain.val_dataloader()[1], module.val_dataloader()[1])


def test_cache__not_prepared_is_an_error_with_the_command(cache):
    module = ready(cache, cache="raw", cache_side=40)
    with pytest.raises(DataError, match=r"1 of 1 shards are missing .*; python -m src\.prepare"):
        module.train_dataloader()


def test_cache__device_refuses_what_it_does_not_do(cache):
    module = prepared(cache, "device", augment=AugmentConfig(rand_ops=1))
    with pytest.raises(DataError, match=r"data\.cache=device: crop, flip, brightness and contrast"):
        module.train_dataloader()


@pytest.mark.parametrize("workers", [0, 1])
def test_cache__lightning_trains_from_the_device(cache, tmp_path, workers):
    module = prepared(cache, "device", workers=workers)
    fed = fit(tmp_path, module, max_epochs=2)
    reference = ready(cache)
    loader = reference.train_dataloader()
    for epoch in range(2):
        reference.train_order.set_epoch(epoch)
        assert [batch for at, batch in fed if at == epoch] == rows(loader)


def test_setup__val_with_other_classes_is_an_error(tmp_path):
    root = ensure_sample(tmp_path, train_images=64, val_images=16, seed=3)
    path = root / "annotations" / "instances_val2017.json"
    table = json.loads(path.read_text())
    table["categories"][0]["name"] = "crimson ball"
    path.write_text(json.dumps(table))
    module = MultiLabelDataModule(
        CocoConfig(root=str(root)), AugmentConfig(), DebugConfig(), seed=1, cache_dir=tmp_path / "cache", num_workers=0
    )
    with pytest.raises(DataError, match="only in train: red ball; only in val: crimson ball"):
        module.setup()


@pytest.mark.real
def test_setup__real_coco(tmp_path):
    root = os.environ.get("COCO_REAL")
    if not root:
        pytest.skip("COCO_REAL is not set")
    data = CocoConfig(root=root, image_size=64, limit=40)
    module = MultiLabelDataModule(data, AugmentConfig(), DebugConfig(), seed=1, cache_dir=tmp_path, num_workers=0)
    module.setup()
    assert module.num_classes == 80
    assert not module.source.is_sample
    (batch, *_) = module.train_dataloader()
    assert batch["image"].shape == (32, 3, 64, 64)
    assert len(module.targets("val")) == 600
