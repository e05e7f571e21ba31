"""An instances json of the size and structure of COCO's, generated from a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRAIN_IMAGES, TRAIN_ANNOTATIONS, CLASSES = 118_287, 860_001, 80
_EMPTY_SHARE = 1_021 / 118_287
_CROWD_SHARE = 0.0117
_POLYGONS = 4096
_CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class Photo:
    """One element of ``images``."""

    image_id: int
    file_name: str
    width: int = 640
    height: int = 480


def ensure_train_json(folder: Path, *, small: bool) -> Path:
    """A json like instances_train2017.json (118,287 images, 860,001 annotations, about 450 MB), written once.

    Args:
        folder: where it is kept.
        small: a thousandth of it.
    """
    images = 400 if small else TRAIN_IMAGES
    path = folder / f"instances_v1_{images}.json"
    if not path.is_file():
        ids = np.random.default_rng(0).permutation(np.arange(1, 5 * images))[:images]
        photos = [Photo(int(image_id), f"{image_id:012d}.jpg") for image_id in ids]
        write_instances(path, photos, annotations=images * TRAIN_ANNOTATIONS // TRAIN_IMAGES, seed=0)
    return path


def write_instances(path: Path, photos: Sequence[Photo], *, annotations: int, seed: int) -> None:
    """Write images, annotations with polygons, and 80 categories with holes in their ids.

    Class frequencies fall like COCO's, first to last 300 : 1. About one image in 116 has no annotation.

    Args:
        path: the json; written beside it and moved there.
        photos: the images, in the order of the file.
        annotations: how many, over all images.
        seed: of everything.
    """
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", encoding="ascii") as file:
        file.write('{"info": {"description": "generated", "version": "1.0", "year": 2017},"licenses": [],"images": [')
        file.writelines(_joined(map(_image, photos)))
        file.write('],"annotations": [')
        file.writelines(_joined(_annotations(photos, annotations, random)))
        file.write('],"categories": [')
        file.write(",".join(f'{{"supercategory": "thing","id": {i},"name": "class {i}"}}' for i in category_ids()))
        file.write("]}")
    temporary.replace(path)


def category_ids() -> list[int]:
    """80 ids in 1..90, with holes."""
    holes = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
    return [number for number in range(1, 91) if number not in holes]


def _image(photo: Photo) -> str:
    name = photo.file_name
    return (
        f'{{"license": 3,"file_name": "{name}","coco_url": "http://images.example.org/train2017/{name}",'
        f'"height": {photo.height},"width": {photo.width},"date_captured": "2013-11-14 11:18:45",'
        f'"flickr_url": "http://farm.example.org/3153/{photo.image_id}_cbb4a3_z.jpg","id": {photo.image_id}}}'
    )


def _annotations(photos: Sequence[Photo], total: int, random: np.random.Generator) -> Iterator[str]:
    labelled = random.permutation(len(photos))[round(_EMPTY_SHARE * len(photos)) :]
    # Scenes hold few objects or very many: weights of the images are log-normal.
    weights = random.lognormal(0, 0.9, len(labelled))
    rows = labelled[random.choice(len(labelled), total, p=weights / weights.sum())]
    shares = 1 / np.arange(1, CLASSES + 1) ** 1.3
    categories = np.array(category_ids())[random.choice(CLASSES, total, p=shares / shares.sum())]
    polygons = [_polygon(random) for _ in range(_POLYGONS)]
    drawn, crowds = random.integers(_POLYGONS, size=total), random.random(total) < _CROWD_SHARE
    boxes = np.round(random.uniform((0, 0, 4, 4), (320, 240, 320, 240), size=(total, 4)), 2)
    ids = random.permutation(2 * total)[:total] + 1
    for row, category, shape, crowd, box, number in zip(
        rows.tolist(), categories.tolist(), drawn.tolist(), crowds.tolist(), boxes.tolist(), ids.tolist(), strict=True
    ):
        outline = '{"counts": [272,2,4,4,4,4,2,9,1,2,16,43,143,24],"size": [480,640]}' if crowd else polygons[shape]
        area = box[2] * box[3] * 0.61803
        yield (
            f'{{"segmentation": {outline},"area": {area:.4f},"iscrowd": {int(crowd)},'
            f'"image_id": {photos[row].image_id},"bbox": {box},"category_id": {category},"id": {number}}}'
        )


def _polygon(random: np.random.Generator) -> str:
    points = int(np.clip(random.lognormal(2.9, 0.75), 4, 300))
    coordinates = np.round(random.uniform(0, 640, 2 * points), 2).tolist()
    return f"[{coordinates}]".replace(" ", "")


def _joined(parts: Iterator[str]) -> Iterator[str]:
    """Parts with commas between them, in large pieces."""
    piece: list[str] = []
    lead = ""
    for part in parts:
        piece.append(part)
        if len(piece) == _CHUNK:
            yield lead + ",".join(piece)
            piece, lead = [], ","
    yield lead + ",".join(piece) if piece else ""
