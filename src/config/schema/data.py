"""Which images, which labels, and how they reach the network."""

from dataclasses import dataclass, field

from src.config.schema.rules import require, require_choice

CACHES = ("none", "jpeg", "raw", "device", "auto")
DECODERS = ("cpu", "device", "auto")
READERS = ("msgspec", "pycocotools")
SAMPLERS = ("uniform", "class_aware", "repeat_factor")


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """What every data source shares."""

    image_size: int = 0
    """Side of the square network input, pixels; 0 takes 96 for the built-in sample, 224 for photographs."""
    batch_size: int = 32
    """Training images per step and process; 0: the largest power of two that fits the memory, up to 32 (CUDA 256)."""
    eval_batch_size: int = 64
    """Images per step in evaluation."""
    num_workers: int = -1
    """Loader processes; -1 lets the run choose for the device (said in the banner). Results do not depend on it."""
    holdout: float = 0.05
    """Share of train kept out for thresholds and model choice, so that val is read once; 0 uses val (optimistic)."""
    classes: list[str] = field(default_factory=list)
    """Class names to keep, in category order; empty keeps all."""
    empty: str = "keep"
    """keep | drop images without any object."""
    crowd: str = "keep"
    """keep | drop crowd boxes as evidence of presence."""
    min_area: float = 0.0
    """Smallest annotation area that counts as presence, square pixels."""
    resize: str = "squash"
    """Evaluation resize: squash (whole image, aspect lost) | crop (short side, then centre crop)."""
    on_error: str = "raise"
    """raise | skip a broken image; skipped images are counted and named."""
    max_pixels: int = 100_000_000
    """Largest image, width x height in pixels, that is decoded at all."""
    exact_resize: bool = False
    """Training decodes JPEGs fully and averages areas, as evaluation does; takes a third longer (docs/data-path.md)."""
    cache: str = "none"
    """none | jpeg | raw | device | auto: train from prepared images (docs/data-path.md); auto says what and why."""
    cache_side: int = 0
    """Side (jpeg: short side) of prepared images, pixels; 0 takes image_size, or 8/7 of it where augment crops."""
    shards: str = ""
    """Read train from tar shards (WebDataset): PATH/*.tar, a range "PATH-{000..146}.tar", URLs, or a list.json."""
    shard_window: int = 8
    """Shards whose images are mixed with one another in training; 0 mixes all, as from files (docs/data-path.md)."""
    shard_cache_gb: float = 20.0
    """Most that local copies of shards behind URLs take; two windows of shards must fit."""
    decode: str = "cpu"
    """cpu (loader processes) | device (the GPU, where training reads files) | auto: device where CUDA can do it all."""
    reader: str = "msgspec"
    """msgspec (typed, streaming) | pycocotools (the reference, slow); both give the same labels."""
    limit: int = 0
    """Train on only this many images (seeded choice); 0 uses all. A cache and src.describe hold all of them anyway."""
    sampler: str = "uniform"
    """uniform | class_aware (a class, then an image of it) | repeat_factor (LVIS: images of rare classes repeat)."""
    repeat_threshold: float = 0.02
    """repeat_factor: classes in a smaller share of images repeat. LVIS took 0.001, less than any class of COCO has."""

    def __post_init__(self) -> None:
        size_ok = self.image_size == 0 or 32 <= self.image_size <= 2048
        require(size_ok, "data.image_size", self.image_size, "must lie in 32..2048; 0 chooses by the data")
        require(self.batch_size >= 0, "data.batch_size", self.batch_size, "must be >= 1; 0 chooses by the memory")
        require(self.eval_batch_size >= 1, "data.eval_batch_size", self.eval_batch_size, "must be >= 1")
        require(self.num_workers >= -1, "data.num_workers", self.num_workers, "must be >= 0, or -1 for automatic")
        require(0 <= self.holdout < 0.5, "data.holdout", self.holdout, "must lie in [0, 0.5)")
        require(self.min_area >= 0, "data.min_area", self.min_area, "must be >= 0")
        require(self.max_pixels >= 1, "data.max_pixels", self.max_pixels, "must be >= 1")
        require(self.limit >= 0, "data.limit", self.limit, "must be >= 0; 0 uses all images")
        require_choice("data.empty", self.empty, ("keep", "drop"))
        require_choice("data.crowd", self.crowd, ("keep", "drop"))
        require_choice("data.resize", self.resize, ("squash", "crop"))
        require_choice("data.on_error", self.on_error, ("raise", "skip"))
        require_choice("data.sampler", self.sampler, SAMPLERS)
        require_choice("data.cache", self.cache, CACHES)
        require_choice("data.decode", self.decode, DECODERS)
        files = self.decode != "device" or self.cache == "none"
        require(files, "data.decode", self.decode, f"data.cache={self.cache} is not decoded there; data.cache=none")
        unsharded = self.decode != "device" or not self.shards
        require(unsharded, "data.decode", self.decode, "reads files, not data.shards; data.decode=cpu")
        inexact = self.decode != "device" or not self.exact_resize
        require(inexact, "data.decode", self.decode, "halves and resamples bilinearly; data.exact_resize=false")
        require_choice("data.reader", self.reader, READERS)
        alone = not self.shards or self.cache == "none"
        require(alone, "data.cache", self.cache, "must be none with data.shards: training reads the shards")
        require(self.shard_window >= 0, "data.shard_window", self.shard_window, "must be >= 0; 0 mixes all shards")
        require(self.shard_cache_gb > 0, "data.shard_cache_gb", self.shard_cache_gb, "must be > 0")
        side_ok = self.cache_side == 0 or 32 <= self.cache_side <= 2048
        require(side_ok, "data.cache_side", self.cache_side, "must lie in 32..2048; 0 chooses by image_size and crop")
        share_ok = 0 < self.repeat_threshold <= 1
        require(share_ok, "data.repeat_threshold", self.repeat_threshold, "must lie in (0, 1]: a share of the images")


@dataclass(slots=True, kw_only=True)
class SampleConfig(DataConfig):
    """The built-in generated sample: COCO format, many classes, strong imbalance, a few seconds to write."""

    train_images: int = 2400
    """Generated training images."""
    val_images: int = 600
    """Generated validation images."""
    sample_seed: int = 7
    """Seed of the generator; another seed is another data set of the same kind."""

    def __post_init__(self) -> None:
        super(SampleConfig, self).__post_init__()
        require(self.train_images >= 64, "data.train_images", self.train_images, "must be >= 64")
        require(self.val_images >= 16, "data.val_images", self.val_images, "must be >= 16")


@dataclass(slots=True, kw_only=True)
class CocoConfig(DataConfig):
    """A folder in COCO's layout."""

    root: str = "data/coco2017"
    """Folder that holds the annotations and the images."""
    train_annotations: str = "annotations/instances_train2017.json"
    """Training labels, relative to root."""
    val_annotations: str = "annotations/instances_val2017.json"
    """Validation labels, relative to root."""
    train_images: str = "train2017"
    """Folder of the training images, relative to root."""
    val_images: str = "val2017"
    """Folder of the validation images, relative to root."""

    def __post_init__(self) -> None:
        super(CocoConfig, self).__post_init__()
        require(bool(self.root.strip()), "data.root", repr(self.root), "must name a folder")


@dataclass(slots=True, kw_only=True)
class AutoConfig(CocoConfig):
    """COCO 2017 where it lies under root, else the built-in sample; the banner says which."""


@dataclass(slots=True, kw_only=True)
class AugmentConfig:
    """Training augmentation; evaluation only resizes."""

    crop_min_scale: float = 0.5
    """Smallest share of the area that a random crop keeps; 1 squashes the whole image instead."""
    crop_max_ratio: float = 1.3333
    """Largest aspect change of a random crop, as a factor >= 1."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    brightness: float = 0.0
    """Largest relative change of brightness."""
    contrast: float = 0.0
    """Largest relative change of contrast."""
    saturation: float = 0.0
    """Largest relative change of saturation."""
    hue: float = 0.0
    """Largest hue shift as a share of the colour circle."""
    rand_ops: int = 0
    """Operations drawn per image from a RandAugment-like list (Cubuk et al., 2020)."""
    rand_magnitude: float = 0.5
    """Strength of these operations in [0, 1]."""
    cutout: float = 0.0
    """Probability of one grey square (DeVries and Taylor, 2017)."""
    cutout_size: float = 0.5
    """Side of that square relative to the image side."""

    def __post_init__(self) -> None:
        require(0 < self.crop_min_scale <= 1, "augment.crop_min_scale", self.crop_min_scale, "must lie in (0, 1]")
        require(self.crop_max_ratio >= 1, "augment.crop_max_ratio", self.crop_max_ratio, "must be >= 1")
        for name in ("flip", "cutout", "rand_magnitude", "brightness", "contrast", "saturation"):
            require(0 <= getattr(self, name) <= 1, f"augment.{name}", getattr(self, name), "must lie in [0, 1]")
        require(0 <= self.hue <= 0.5, "augment.hue", self.hue, "must lie in [0, 0.5]")
        require(0 <= self.rand_ops <= 8, "augment.rand_ops", self.rand_ops, "must lie in 0..8")
        require(0 < self.cutout_size <= 1, "augment.cutout_size", self.cutout_size, "must lie in (0, 1]")
