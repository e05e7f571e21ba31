"""``data.decode=device`` on the CPU: torchvision's decoder and torch's painting against OpenCV's, batch by batch."""

import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from src.config.schema.data import AugmentConfig, CocoConfig
from src.config.schema.errors import ConfigError
from src.config.schema.training import DebugConfig
from src.data.augment.levels import adjust_levels
from src.data.augment.render import render
from src.data.augment.views import Views, random_views
from src.data.datamodule import MultiLabelDataModule
from src.data.device.choice import choose_decode
from src.data.device.decode import DeviceDecoder, decode_jpegs, why_not
from src.data.device.encoded import HOST
from src.data.device.paint import paint_images, view_numbers
from src.data.errors import DataError, ImageError
from src.data.frames import FileFrames
from src.data.sample.synthetic import ensure_sample

CPU = torch.device("cpu")
SIZE, BATCH = 48, 10
POLICIES = {
    "whole": AugmentConfig(crop_min_scale=1.0, flip=0.5),
    "jitter": AugmentConfig(crop_min_scale=0.2, flip=0.5, brightness=0.5, contrast=0.6),
}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_sample(tmp_path_factory.mktemp("cache"), train_images=64, val_images=16, seed=7)


@pytest.fixture
def coco(sample: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(sample, tmp_path / "coco"))


def ready(root: Path, *, workers: int = 0, augment: AugmentConfig | None = None, **data) -> MultiLabelDataModule:
    settings = {"image_size": SIZE, "batch_size": BATCH, "holdout": 0.0, **data}
    module = MultiLabelDataModule(
        CocoConfig(root=str(root), **settings), augment or POLICIES["jitter"], DebugConfig(),
        seed=1, cache_dir=root.parent / "index", num_workers=workers,
    )  # fmt: skip
    module.setup("fit")
    return module


def epoch(module: MultiLabelDataModule, number: int = 0) -> list[dict[str, torch.Tensor]]:
    loader = module.train_dataloader()
    loader.batch_sampler.set_epoch(number)
    return [module.transfer_batch_to_device(batch, CPU, 0) for batch in loader]


def assert_same_but_for_pixels(ones, others) -> float:
    """The largest mean difference of an image's pixels."""
    assert len(ones) == len(others) > 0
    worst = 0.0
    for one, other in zip(ones, others, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one if key != "image")
        assert other["image"].dtype == torch.uint8
        assert other["image"].is_contiguous(memory_format=torch.channels_last)
        difference = (one["image"].float() - other["image"].float()).abs().mean(dim=(1, 2, 3))
        worst = max(worst, difference.max().item())
    return worst


def replace_image(root: Path, write) -> str:
    """Write another file in place of the first training image, of its size; its name."""
    labels = root / "annotations/instances_train2017.json"
    entry = json.loads(labels.read_text())["images"][0]
    path = root / "train2017" / entry["file_name"]
    with Image.open(path) as image:
        path.write_bytes(write(image.convert("RGB")))
    return entry["file_name"]


def as_file(image: Image.Image, kind: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    image.convert(mode).save(stream, kind)
    return stream.getvalue()


def damaged(image: Image.Image) -> bytes:
    """A JPEG whose header and end are right and whose tables are not: only a decoder finds out."""
    data = bytearray(as_file(image, "JPEG"))
    at = data.index(b"\xff\xc4")
    data[at + 4 : at + 21] = b"\xff" * 17
    return bytes(data)


@pytest.mark.parametrize("policy", POLICIES)
def test_decode__views_and_pixels_are_those_of_the_loader(sample: Path, policy: str) -> None:
    """96 px are so many that neither side halves: the same decoder, the same view, the same interpolation."""
    options = {"augment": POLICIES[policy], "image_size": 96}
    plain = epoch(ready(sample, **options), 3)
    found = epoch(ready(sample, **options, decode="device"), 3)
    assert assert_same_but_for_pixels(plain, found) < 0.5
    other = epoch(ready(sample, **options, decode="device"), 2)
    assert not torch.equal(found[0]["row"], other[0]["row"])


def test_decode__halves_whole_images_as_the_decoder_of_the_loader_does(sample: Path) -> None:
    options = {"augment": POLICIES["whole"], "image_size": 64}
    plain, found = (epoch(ready(sample, **options, decode=decode)) for decode in ("cpu", "device"))
    assert assert_same_but_for_pixels(plain, found) < 3


@pytest.mark.parametrize("size", [32, 48])
def test_decode__where_images_are_halved_it_is_nearer_to_exact_averages_than_the_loader(
    sample: Path, size: int
) -> None:
    options = {"augment": POLICIES["jitter"], "image_size": size}
    exact = epoch(ready(sample, **options, exact_resize=True))
    errors = []
    for decode in ("cpu", "device"):
        pairs = zip(exact, epoch(ready(sample, **options, decode=decode)), strict=True)
        errors.append(
            np.mean([(one["image"].float() - two["image"].float()).abs().mean().item() for one, two in pairs])
        )
    assert errors[1] < errors[0] < 4


def test_decode__same_batches_for_any_number_of_workers_and_from_any_start(sample: Path) -> None:
    expected = epoch(ready(sample, decode="device"), 2)
    for workers in (0, 2):
        module = ready(sample, decode="device", workers=workers)
        module.resume_at(2, 3)
        found = [module.transfer_batch_to_device(batch, CPU, 0) for batch in module.train_dataloader()]
        for one, other in zip(expected[3:], found, strict=True):
            assert all(torch.equal(one[key], other[key]) for key in one)


def test_decode__files_stay_on_the_host_and_nothing_else_does(sample: Path) -> None:
    ticket = next(iter(ready(sample, decode="device").train_dataloader()))
    assert set(HOST) < ticket.keys()
    assert ticket["encoded"].numel() == ticket["lengths"].sum() > 0
    assert "image" not in ticket
    files = torch.split(ticket["encoded"], ticket["lengths"].tolist())
    assert all(bytes(file[:2].tolist()) == b"\xff\xd8" for file in files)


def test_decode__evaluation_reads_files_as_ever(sample: Path) -> None:
    plain, device = (ready(sample, decode=decode).val_dataloader()[0] for decode in ("cpu", "device"))
    for one, other in zip(plain, device, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L")])
def test_decode__other_files_come_out_as_from_the_loader(coco: Path, kind: str, mode: str) -> None:
    replace_image(coco, lambda image: as_file(image, kind, mode))
    plain, found = (epoch(ready(coco, decode=decode, image_size=96)) for decode in ("cpu", "device"))
    assert assert_same_but_for_pixels(plain, found) < 0.5
    if mode != "L":  # decoded and painted by the loader itself: the very same
        ((batch, at),) = [(i, one["row"].tolist().index(0)) for i, one in enumerate(plain) if 0 in one["row"].tolist()]
        assert torch.equal(plain[batch]["image"][at], found[batch]["image"][at])


def test_decode__a_damaged_file_is_named_or_left_out_as_from_the_loader(coco: Path) -> None:
    name = replace_image(coco, damaged)
    for decode in ("cpu", "device"):
        with pytest.raises(ImageError, match=rf"{name}: cannot be decoded.* \(image id \d+\)"):
            epoch(ready(coco, decode=decode))
    plain, found = (epoch(ready(coco, decode=decode, on_error="skip")) for decode in ("cpu", "device"))
    assert_same_but_for_pixels(plain, found)
    assert [row for batch in found for row in batch["skipped"].tolist()] == [0]


def test_decode__a_file_that_shows_its_damage_never_leaves_the_loader(coco: Path) -> None:
    name = replace_image(coco, lambda image: as_file(image, "JPEG")[:-200])
    with pytest.raises(ImageError, match=rf"{name}: the file ends early .*\(image id \d+\)"):
        next(iter(ready(coco, decode="device", batch_size=64).train_dataloader()))
    whole = epoch(ready(coco, decode="device", batch_size=64, on_error="skip"))
    assert [batch["skipped"].tolist() for batch in whole] == [[0]]
    alone = ready(coco, decode="device", on_error="skip")
    empty = alone.transfer_batch_to_device(alone.train_dataloader().dataset[(0, 0)], CPU, 0)
    assert empty["image"].shape == (0, 3, SIZE, SIZE)
    assert empty["skipped"].tolist() == [0]


def test_decoder__what_the_device_refuses_is_decoded_on_the_cpu(sample: Path) -> None:
    module = ready(sample, decode="device")
    ticket, split = next(iter(module.train_dataloader())), module._of("train")
    asked = []

    def refuses_its_third_file(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        asked.append(len(files))
        if any(file.data_ptr() == third for file in files):
            raise RuntimeError("nvjpeg: not supported")
        return decode_jpegs(files, device)

    third = torch.split(ticket["encoded"], ticket["lengths"].tolist())[2].data_ptr()
    frames = FileFrames(split.index, split.image_dir, max_pixels=10**7)
    options = {"image_size": SIZE, "on_error": "raise"}
    found = DeviceDecoder(split.index, frames, **options, decode=refuses_its_third_file).batch(ticket, CPU)
    expected = DeviceDecoder(split.index, frames, **options).batch(ticket, CPU)
    assert asked == [BATCH] + [1] * BATCH
    assert_same_but_for_pixels([expected], [found])
    assert (found["image"].int() - expected["image"].int()).abs().max() <= 3  # another JPEG library's rounding


@pytest.mark.parametrize("policy", POLICIES)
def test_paint_images__is_render_for_images_of_any_size(policy: str) -> None:
    rng = np.random.default_rng(0)
    sizes_B2 = rng.integers(20, 200, (32, 2))
    coarse = [rng.integers(0, 256, (7, 9, 3), np.uint8) for _ in sizes_B2]
    images = [
        cv2.resize(one, size.tolist(), interpolation=cv2.INTER_CUBIC)
        for one, size in zip(coarse, sizes_B2, strict=True)
    ]
    views = random_views(POLICIES[policy], [(3, row) for row in range(len(images))], sizes_B2, seed=2)
    found = paint_images(
        [torch.from_numpy(image).permute(2, 0, 1) for image in images], views.boxes_B4.tolist(),
        torch.from_numpy(view_numbers(views, views.boxes_B4.astype(np.float32))), image_size=SIZE,
    )  # fmt: skip
    assert found.is_contiguous(memory_format=torch.channels_last)
    for i, image in enumerate(images):
        expected = np.empty((SIZE, SIZE, 3), np.uint8)
        render(image, views, i, expected, shown=(0, 0, *sizes_B2[i].tolist()), exact=False)
        adjust_levels({i: expected}, views)
        width, height = (views.boxes_B4[i, 2:] - views.boxes_B4[i, :2]).tolist()
        if min(width, height) >= 2 * SIZE * 15 / 16 and (min(width, height) < 2 * SIZE or width % 2 or height % 2):
            continue  # there the loader's decoder halves before ``render``, and rounds odd sizes up
        difference = np.abs(found[i].permute(1, 2, 0).numpy().astype(int) - expected)
        assert difference.mean() < 0.7
        assert difference.max() <= (1 if policy == "whole" else 4)


def test_paint_images__the_right_size_is_not_resampled() -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 60, 70), np.uint8))
    one, never = np.ones(1), np.zeros(1, bool)
    for flip in (False, True):
        views = Views(np.array([[5, 3, 5 + SIZE, 3 + SIZE]]), never | flip, one, one, never)
        numbers = torch.from_numpy(view_numbers(views, views.boxes_B4.astype(np.float32)))
        found = paint_images([image], views.boxes_B4.tolist(), numbers, image_size=SIZE)[0]
        assert torch.equal(found.flip(2) if flip else found, image[:, 3 : 3 + SIZE, 5 : 5 + SIZE])


def test_paint_images__the_first_halving_keeps_an_odd_last_column_as_jpeg_decoders_do() -> None:
    ramp = torch.arange(2 * SIZE - 1, dtype=torch.uint8).expand(3, 2 * SIZE - 1, -1)
    views = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 0]], dtype=torch.float32)
    (found,) = paint_images([ramp], [[0, 0, 2 * SIZE - 1, 2 * SIZE - 1]], views, image_size=SIZE)
    pairs = torch.arange(SIZE - 1) * 2 + 0.5
    assert torch.equal(found[0, 0], torch.cat([pairs.round(), torch.tensor([2.0 * SIZE - 2])]).to(torch.uint8))


def works(_: torch.device) -> str:
    return ""


def lacks(_: torch.device) -> str:
    return "no nvJPEG"


@pytest.mark.parametrize(
    ("data", "augment", "device", "probe", "expected"),
    [
        ({}, AugmentConfig(), "cuda", works, ("device", "CUDA decodes JPEGs")),
        ({}, AugmentConfig(), "cpu", works, ("cpu", "the run trains on the CPU")),
        ({}, AugmentConfig(), "cuda", lacks, ("cpu", "torchvision cannot decode JPEGs on cuda (no nvJPEG)")),
        ({"cache": "raw"}, AugmentConfig(), "cuda", works, ("cpu", "data.cache=raw is read instead")),
        ({"exact_resize": True}, AugmentConfig(), "cuda", works, ("cpu", "data.exact_resize=true averages areas")),
        (
            {}, AugmentConfig(hue=0.1, cutout=0.5), "cuda", works,
            ("cpu", "albumentations does a part of this augmentation (ColorJitter, CoarseDropout) on the CPU"),
        ),
    ],
)  # fmt: skip
def test_choose_decode__auto_says_why(data, augment, device, probe, expected) -> None:
    found = choose_decode(CocoConfig(decode="auto", **data), augment, device, probe=probe)
    assert found.kind == expected[0]
    assert found.reason.startswith(expected[1])


def test_choose_decode__what_is_asked_for_is_done_or_refused() -> None:
    asked = CocoConfig(decode="device")
    for device in ("cpu", "cuda"):
        assert choose_decode(asked, AugmentConfig(), device, probe=works).kind == "device"
    with pytest.raises(DataError, match=r"data\.decode=device: torchvision cannot .*no nvJPEG\); data\.decode=cpu"):
        choose_decode(asked, AugmentConfig(), "cuda", probe=lacks)
    with pytest.raises(DataError, match=r"data\.decode=device: albumentations does .*RandomOrder.*; data\.decode=cpu"):
        choose_decode(asked, AugmentConfig(rand_ops=2), "cuda", probe=works)
    assert choose_decode(CocoConfig(), AugmentConfig(rand_ops=2), "cuda", probe=lacks).kind == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "raw"}, r"data\.decode=device: data\.cache=raw is not decoded there; data\.cache=none"),
        ({"exact_resize": True}, r"data\.decode=device: .*; data\.exact_resize=false"),
    ],
)
def test_data_config__decode_contradicts(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        CocoConfig(decode="device", **options)


def test_encoded_dataset__refuses_what_needs_albumentations(sample: Path) -> None:
    with pytest.raises(DataError, match=r"data\.decode=device: .*augment=light"):
        ready(sample, decode="device", augment=AugmentConfig(cutout=0.5)).train_dataloader()


def test_why_not__looks_at_what_comes_out() -> None:
    assert why_not(CPU) == ""

    def broken(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
        raise RuntimeError("not compiled with nvJPEG support\nstack")

    assert why_not(CPU, broken) == "not compiled with nvJPEG support"
    assert why_not(CPU, lambda files, device: [torch.zeros(1, 16, 16)]) == "it made (1, 16, 16) of 16x16 pixels"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: nvjpeg against libjpeg-turbo")
def test_decode__on_cuda_the_same_views(sample: Path) -> None:
    device = torch.device("cuda")
    if reason := why_not(device):
        pytest.skip(f"torchvision cannot decode JPEGs here: {reason}")
    module = ready(sample, decode="device")
    found = [module.transfer_batch_to_device(batch, device, 0) for batch in module.train_dataloader()]
    torch.cuda.synchronize()
    expected = epoch(ready(sample, decode="device"))
    there = [{key: value.cpu() for key, value in batch.items()} for batch in found]
    assert assert_same_but_for_pixels(expected, there) < 4
