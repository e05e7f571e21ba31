"""The built-in sample: toy objects in COCO's layout, generated in a few seconds.

It has what makes COCO hard in small: 24 classes with a long tail (more than 50 : 1), classes that come together,
crowds, images without any object, category ids with holes, clutter in the classes' own shapes and colours.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.sample.scenes import Placed, Request, compose
from src.data.sample.shapes import Look

FORMAT_VERSION = 4
"""Part of the folder name: raised when the generator draws something else for the same settings."""

_EMPTY_SHARE = 0.02
_MAX_CLASSES = 6
_CROWD_SHARE = 0.03
_CROWD_CLASSES = 9


@dataclass(frozen=True, slots=True)
class ToyClass:
    """A class of the sample."""

    category_id: int
    name: str
    supercategory: str
    look: Look
    share: float
    """Share of the images that hold it."""
    partner: str = ""
    """A more frequent class that it keeps company with."""
    loyalty: float = 0.0
    """Share of its images that also hold the partner, by intent."""


TOY_CLASSES = (
    ToyClass(1, "red ball", "sport", Look("disc", "red"), 0.26),
    ToyClass(2, "blue brick", "building", Look("rectangle", "blue"), 0.26),
    ToyClass(3, "green leaf", "plant", Look("leaf", "green"), 0.26),
    ToyClass(4, "yellow star", "sky", Look("star", "yellow"), 0.26),
    ToyClass(5, "orange cone", "street", Look("triangle", "orange"), 0.26, "blue brick", 0.5),
    ToyClass(6, "pink ring", "sport", Look("ring", "pink"), 0.25),
    ToyClass(8, "black cross", "sign", Look("cross", "black"), 0.12),
    ToyClass(10, "dotted ball", "sport", Look("disc", "red", "dots"), 0.1),
    ToyClass(11, "striped flag", "sign", Look("rectangle", "red", "stripes"), 0.085),
    ToyClass(13, "checked tile", "building", Look("square", "black", "checks"), 0.07),
    ToyClass(14, "white cloud", "sky", Look("cloud", "white"), 0.06),
    ToyClass(15, "cyan drop", "sky", Look("drop", "cyan"), 0.052, "white cloud", 0.6),
    ToyClass(18, "purple heart", "sign", Look("heart", "purple"), 0.046),
    ToyClass(20, "yellow moon", "sky", Look("crescent", "yellow"), 0.04, "yellow star", 0.7),
    ToyClass(21, "pink flower", "plant", Look("flower", "pink"), 0.035, "green leaf", 0.8),
    ToyClass(22, "orange bolt", "sky", Look("bolt", "orange"), 0.03),
    ToyClass(24, "blue ball", "sport", Look("disc", "blue"), 0.026, "red ball", 0.7),
    ToyClass(27, "purple gem", "treasure", Look("rhombus", "purple"), 0.022),
    ToyClass(28, "brown house", "building", Look("house", "brown"), 0.019, "striped flag", 0.6),
    ToyClass(31, "green arrow", "sign", Look("arrow", "green"), 0.016),
    ToyClass(33, "striped kite", "sport", Look("rhombus", "blue", "stripes", "yellow"), 0.013),
    ToyClass(34, "cyan gear", "building", Look("gear", "cyan"), 0.0105),
    ToyClass(36, "red bow tie", "treasure", Look("bowtie", "red"), 0.008),
    ToyClass(39, "green clover", "plant", Look("clover", "green"), 0.005, "green leaf", 0.5),
)
"""The classes, most frequent first; category ids have holes as COCO's do."""

_TAKEN = frozenset((toy.look.shape, toy.look.colour) for toy in TOY_CLASSES)


def plan_targets(num_images: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Decide which image holds which class.

    Every class gets exactly its share of the images (at least one), so the imbalance does not hang on luck; a class
    with a partner takes ``loyalty`` of its images from the partner's.

    Returns:
        bool [num_images, C]; about 2.5 % of the rows are empty.
    """
    planned = np.zeros((num_images, len(TOY_CLASSES)), bool)
    usable = np.ones(num_images, bool)
    usable[rng.choice(num_images, round(_EMPTY_SHARE * num_images), replace=False)] = False
    column = {toy.name: index for index, toy in enumerate(TOY_CLASSES)}
    for index, toy in enumerate(TOY_CLASSES):
        count = max(1, round(toy.share * num_images))
        free = usable & (planned.sum(1) < _MAX_CLASSES)
        friends = free & planned[:, column[toy.partner]] if toy.partner else np.zeros(num_images, bool)
        together = min(round(toy.loyalty * count), int(friends.sum()))
        planned[rng.choice(np.flatnonzero(friends), together, replace=False), index] = True
        others = np.flatnonzero(free & ~friends)
        # Images that hold nothing yet come first: few stay empty beyond those meant to.
        weight = np.where(planned[others].any(1), 1.0, 3.0)
        alone = rng.choice(others, count - together, replace=False, p=weight / weight.sum())
        planned[alone, index] = True
    return planned


def _requests(present: NDArray[np.bool_], rng: np.random.Generator) -> list[Request]:
    """Objects to draw for one row of the plan, in random order: mostly one per class, sometimes more or a crowd."""
    wanted: list[Request] = []
    for index in np.flatnonzero(present):
        look = TOY_CLASSES[index].look
        if index < _CROWD_CLASSES and rng.random() < _CROWD_SHARE:
            wanted.append(Request(int(index), look, crowd=True))
            continue
        copies = 1 + int(rng.random() < 0.25) + int(rng.random() < 0.08)
        wanted += [Request(int(index), look)] * copies
    return [wanted[index] for index in rng.permutation(len(wanted))]


def _annotation(placed: Placed, image_id: int, annotation_id: int) -> dict[str, object]:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": TOY_CLASSES[placed.class_idx].category_id,
        "bbox": list(placed.box),
        "area": placed.area,
        "iscrowd": int(placed.crowd),
        "segmentation": [],
    }


def _write_split(root: Path, split: str, num_images: int, seed: list[int]) -> None:
    """Write one split's JPEGs and its instances json."""
    folder = root / f"{split}2017"
    folder.mkdir()
    rng = np.random.default_rng(seed)
    bank = rng.normal(0, 3, (320, 320, 3)).astype(np.int16)
    image_ids = np.sort(rng.choice(np.arange(1, 40 * num_images), num_images, replace=False)).tolist()
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for image_id, present in zip(image_ids, plan_targets(num_images, rng), strict=True):
        image, placed = compose(_requests(present, rng), rng, taken=_TAKEN, bank=bank)
        name = f"{image_id:012d}.jpg"
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
        (folder / name).write_bytes(data.tobytes())
        images.append({"id": image_id, "file_name": name, "width": image.shape[1], "height": image.shape[0]})
        annotations += [_annotation(one, image_id, len(annotations) + n) for n, one in enumerate(placed, 1)]
    categories = [{"id": toy.category_id, "name": toy.name, "supercategory": toy.supercategory} for toy in TOY_CLASSES]
    info = {"description": "built-in sample of toy objects", "version": str(FORMAT_VERSION)}
    table = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(table), encoding="utf-8")


def ensure_sample(cache_dir: Path, *, train_images: int, val_images: int, seed: int) -> Path:
    """Folder of the sample in COCO's layout, generated where it does not exist yet.

    Written beside its final place and moved there in one step: a killed run leaves no half sample, and of two processes
    that write at once one wins and the other uses its work.

    Args:
        cache_dir: where samples live; the folder name within says the settings.
        train_images: images in ``train2017``.
        val_images: images in ``val2017``.
        seed: another seed is another sample of the same kind.

    Returns:
        The root that holds ``annotations/``, ``train2017/`` and ``val2017/``.
    """
    root = cache_dir / f"sample-v{FORMAT_VERSION}-{train_images}-{val_images}-{seed}"
    if root.is_dir():
        return root
    cache_dir.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=cache_dir))
    try:
        (building / "annotations").mkdir()
        _write_split(building, "train", train_images, [seed, 0])
        _write_split(building, "val", val_images, [seed, 1])
        building.chmod(0o755)  # mkdtemp makes it private
        building.replace(root)
    except OSError:
        if not root.is_dir():  # not another process's finished sample: a real failure
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return root
