"""Any folder with labels in COCO's format, seen through the classes of a trained model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.config.schema.data import DataConfig
from src.data.augment.recipe import eval_recipe
from src.data.coco.index import load_index
from src.data.dataset import BatchLoader
from src.data.errors import DataError
from src.data.loader import split_loader
from src.data.order import EpochBatchSampler
from src.data.split import Split
from src.data.targets import select_targets


@dataclass(frozen=True, slots=True)
class FolderSplit:
    """Batches whose targets stand in the model's class order."""

    loader: BatchLoader
    split: Split
    absent_classes: tuple[str, ...]
    """Classes of the model that these labels do not know; their columns are zero."""


def open_folder(
    annotations: Path,
    image_dir: Path,
    *,
    class_names: Sequence[str],
    data: DataConfig,
    cache_dir: Path,
    num_workers: int,
    pin_memory: bool,
) -> FolderSplit:
    """Match classes by name and open the images.

    Args:
        annotations: instances json.
        image_dir: its images.
        class_names: the model's classes, in the order of its logits.
        data: how the run chose labels and resized images; its class subset is ``class_names``.
        cache_dir: for the label index.
        num_workers: loader processes.
        pin_memory: copy batches to page-locked memory, for CUDA.

    Raises:
        DataError: missing files, or none of the model's classes in these labels.
    """
    problems = [f"data.root: no {path}" for path in (annotations, image_dir) if not path.exists()]
    if problems:
        way_out = "data.annotations=FILE data.images=FOLDER name them relative to data.root"
        raise DataError("\n".join([*problems, way_out]))
    index = load_index(annotations, image_dir=image_dir, cache_dir=cache_dir, reader=data.reader)
    shared = [name for name in class_names if name in index.class_names]
    if not shared:
        raise DataError(f"{annotations}: has none of the model's classes ({', '.join(class_names[:5])}, …)")
    chosen = select_targets(index, classes=shared, empty=data.empty, crowd=data.crowd, min_area=data.min_area)
    targets = np.zeros((len(chosen.rows), len(class_names)), dtype=np.uint8)
    targets[:, [list(class_names).index(name) for name in chosen.class_names]] = chosen.targets
    order = EpochBatchSampler(len(chosen.rows), data.eval_batch_size, seed=0, shuffle=False, drop_last=False)
    split = Split(index, image_dir, chosen.rows, targets)
    recipe = eval_recipe(data.resize, data.image_size)
    loader = split_loader(split, data, recipe, order, num_workers=num_workers, pin_memory=pin_memory)
    return FolderSplit(loader, split, tuple(name for name in class_names if name not in shared))
