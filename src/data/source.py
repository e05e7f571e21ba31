"""Where the labels and images of a run lie."""

import os
from dataclasses import dataclass
from pathlib import Path

from src.config.schema.data import AutoConfig, CocoConfig, DataConfig, SampleConfig
from src.data.errors import DataError


@dataclass(frozen=True, slots=True)
class Source:
    """Labels and image folders of one data set.

    Attributes:
        name: ``coco`` or ``sample``, for the banner.
        is_sample: whether this is the built-in generated sample.
        train_annotations: instances json of train.
        train_images: image folder of train; need not be there with ``data.shards``.
        val_annotations: instances json of val.
        val_images: image folder of val.
    """

    name: str
    is_sample: bool
    train_annotations: Path
    train_images: Path
    val_annotations: Path
    val_images: Path


def require_cache(cache_dir: Path) -> None:
    """Make the folder of everything that is kept between runs.

    Raises:
        DataError: it cannot be made or written to.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cache_dir={cache_dir}: {error.strerror}; name a folder that can be made") from error
    if not os.access(cache_dir, os.W_OK):
        raise DataError(f"cache_dir={cache_dir}: not writable; name a folder that is")


def locate(data: DataConfig, *, cache_dir: Path) -> Source:
    """Find the data that a configuration asks for; the built-in sample is generated where it is not there yet.

    Args:
        data: one of the data configurations.
        cache_dir: where the built-in sample lies.

    Raises:
        DataError: a folder or file that the configuration names is missing; all of them are listed.
    """
    require_cache(cache_dir)
    match data:
        case AutoConfig() if _leaves_the_sample(data):
            return _locate_sample(SampleConfig(), cache_dir)
        case CocoConfig():
            return _locate_coco(data)
        case SampleConfig():
            return _locate_sample(data, cache_dir)
    raise TypeError(f"no data source for {type(data).__name__}")


def beyond_limit(data: DataConfig, split: str) -> str:
    """What to say where all of a split is looked at though ``data.limit`` is set; empty elsewhere."""
    return "all of it, data.limit is for training alone" if data.limit and split == "train" else ""


def check_paths(data: DataConfig) -> None:
    """Raise what ``locate`` would of COCO's folders; the sample, which takes OpenCV to draw, is not asked for."""
    if isinstance(data, CocoConfig) and not _leaves_the_sample(data):
        _locate_coco(data)


def _leaves_the_sample(data: CocoConfig) -> bool:
    """``data=auto`` without COCO's train labels; a root that the user typed is never silently replaced."""
    untouched = isinstance(data, AutoConfig) and data.root == AutoConfig().root
    return untouched and not (_root(data) / data.train_annotations).exists()


def _root(data: CocoConfig) -> Path:
    return Path(data.root).expanduser()  # no shell expands the ~ of data.root=~/coco


def _locate_coco(data: CocoConfig) -> Source:
    root = _root(data)
    way_out = "data.root=PATH if you have COCO elsewhere, data=sample for the built-in sample"
    if not root.is_dir():
        raise DataError(f"data.root: no folder {data.root}; {way_out}")
    parts = {
        "train_annotations": data.train_annotations,
        "train_images": data.train_images,
        "val_annotations": data.val_annotations,
        "val_images": data.val_images,
    }
    needed = [key for key in parts if not (data.shards and key == "train_images")]
    missing = [_no_part(data, key, parts[key]) for key in needed if not (root / parts[key]).exists()]
    if missing:
        raise DataError("\n".join([*missing[:-1], f"{missing[-1]}; {way_out}"]))
    return Source(name="coco", is_sample=False, **{key: root / part for key, part in parts.items()})


def _no_part(data: CocoConfig, key: str, part: str) -> str:
    """The key that is wrong: the folder's, unless another name was given for this part of it."""
    if part == getattr(CocoConfig(), key):
        return f"data.root: no {part} under {data.root}"
    return f"data.{key}: no {part}{'' if Path(part).is_absolute() else f' under {data.root}'}"


def _locate_sample(data: SampleConfig, cache_dir: Path) -> Source:
    from src.data.sample.synthetic import ensure_sample  # draws pictures: not needed for COCO

    root = ensure_sample(cache_dir, train_images=data.train_images, val_images=data.val_images, seed=data.sample_seed)
    layout = CocoConfig()
    return Source(
        name="sample",
        is_sample=True,
        train_annotations=root / layout.train_annotations,
        train_images=root / layout.train_images,
        val_annotations=root / layout.val_annotations,
        val_images=root / layout.val_images,
    )


def class_mismatch(source: Source, train: tuple[str, ...], val: tuple[str, ...]) -> str:
    """What to say where train and val do not have the same classes."""
    only_train = ", ".join(sorted(set(train) - set(val))) or "none"
    only_val = ", ".join(sorted(set(val) - set(train))) or "none"
    return (
        f"{source.val_annotations}: its classes are not those of {source.train_annotations}"
        f" (only in train: {only_train}; only in val: {only_val}; or another order of category ids)"
    )
