"""Photographs to read: the originals where a folder of them is given, else generated ones."""

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.instances import Photo, write_instances
from benchmarks.settings import Settings

_WIDTH, _HEIGHT = 640, 480


def ensure_photos(settings: Settings) -> list[Path]:
    """Originals that are given, or 64 generated JPEGs of 640 x 480 (8 in a small run)."""
    if settings.originals is not None:
        return sorted(settings.originals.glob("*.jpg"))
    count = 8 if settings.small else 64
    folder = settings.folder / f"photos_v1_{count}"
    if not folder.is_dir():
        building = folder.with_name(f".{folder.name}.part")
        building.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            _write_photo(building / f"{number + 1:012d}.jpg", np.random.default_rng([number, 1]))
        building.replace(folder)
    return sorted(folder.glob("*.jpg"))


def ensure_layout(settings: Settings, *, train: int, val: int) -> Path:
    """A folder in COCO's layout whose images are links to the photos, each as often as it takes.

    Args:
        settings: where to keep it, which photos.
        train: images of train2017.
        val: images of val2017.
    """
    photos = ensure_photos(settings)
    kind = "photos" if settings.originals is None else "originals"
    root = settings.folder / f"layout_v1_{kind}_{len(photos)}_{train}_{val}"
    if root.is_dir():
        return root
    building = root.with_name(f".{root.name}.part")
    for split, count in (("train2017", train), ("val2017", val)):
        images = building / split
        images.mkdir(parents=True, exist_ok=True)
        listed = []
        for number in range(count):
            source = photos[number % len(photos)]
            name = f"{number + 1:012d}.jpg"
            link = images / name
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(source.resolve(), images.parent.parent.resolve() / root.name / split))
            width, height = _size(source)
            listed.append(Photo(number + 1, name, width, height))
        labels = building / "annotations" / f"instances_{split}.json"
        write_instances(labels, listed, annotations=7 * count, seed=count)
    building.replace(root)
    return root


def image_ids(annotations: Path) -> list[int]:
    """Ids of an instances json, in its order."""
    return [image["id"] for image in json.loads(annotations.read_text())["images"]]


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def _write_photo(path: Path, random: np.random.Generator) -> None:
    from PIL import Image

    Image.fromarray(_scene(random)).save(path, quality=90)


def _scene(random: np.random.Generator) -> NDArray[np.uint8]:
    """Noise of the spectrum of photographs (amplitude about 1 / frequency), a few flat objects, sensor noise.

    Flickr's originals of COCO have 158 kB on average; these have about 130.
    """
    light = _pink(random, 1.15)
    image = np.stack([light + 0.35 * _pink(random, 1.4) for _ in range(3)], axis=2)
    image = 128 + 48 * image / image.std()
    rows, columns = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    for _ in range(6):
        centre, radius = random.uniform((0, 0), (_HEIGHT, _WIDTH)), random.uniform(20, 110)
        inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2
        image[inside] = 0.4 * image[inside] + 0.6 * random.uniform(0, 255, 3)
    noisy = image + random.normal(0, 4, image.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def _pink(random: np.random.Generator, exponent: float) -> NDArray[np.float64]:
    frequency = np.hypot(np.fft.fftfreq(_HEIGHT)[:, None], np.fft.rfftfreq(_WIDTH)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(random.normal(size=(_HEIGHT, _WIDTH))) / frequency**exponent
    field: NDArray[np.float64] = np.fft.irfft2(spectrum, s=(_HEIGHT, _WIDTH))
    return np.asarray(field / field.std())
