"""Training augmentation and evaluation resize: uint8 in, uint8 out.

The randomness of an augmented image is a function of (seed, epoch, row) and of nothing else: neither the worker nor the
order in which images are asked for can change it, so a resumed run sees what the uninterrupted one would have seen.

Crop, flip, brightness and contrast are drawn for a batch at once (``views``) and done by OpenCV (``render``) and tables
(``levels``), with the distributions of albumentations' RandomResizedCrop, HorizontalFlip and ColorJitter; what else a
policy asks for is done by albumentations itself, on the result.
"""

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from src.config.schema.data import AugmentConfig
from src.data.augment.levels import adjust_levels
from src.data.augment.render import render
from src.data.augment.views import Views, centre_boxes, plain_views, random_views, whole_boxes
from src.data.errors import DataError
from src.data.images.box_decoder import Box
from src.data.order import Key

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks the network for its newest version at import otherwise

import albumentations as A

Image = NDArray[np.uint8]

GREY = (124.0, 116.0, 104.0)
"""ImageNet's mean colour: fills what a transform leaves bare, about zero after normalisation."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a batch of images becomes the network's input.

    Attributes:
        image_size: side of the result, pixels.
        views: from keys and sizes [B, 2] (width, height) to what of each image is shown; None leaves all to ``rest``.
        rest: what albumentations does after that, or to the whole image; None where nothing is left.
        seed: run seed of ``rest``; None where nothing in it is random.
        exact: whether JPEGs are decoded fully and views shrunk by averaging areas; else half size, 2 x 2 means and
            bilinear do where they can.
    """

    image_size: int
    views: Callable[[Sequence[Key], NDArray[np.int64]], Views] | None
    rest: A.Compose | None
    seed: int | None = None
    exact: bool = True

    def paint(self, pixels: Image, views: Views | None, at: int, out: Image, *, key: Key, shown: Box) -> None:
        """Write image ``at`` of a batch into ``out``, uint8 [image_size, image_size, 3]; the rest as ``render``.

        When all images of the batch have been painted, ``finish`` does what is left.
        """
        if views is not None:
            render(pixels, views, at, out, shown=shown, exact=self.exact)
        elif self.rest is not None:
            self._apply(self.rest, pixels, out, key)

    def finish(self, painted: Mapping[int, Image], views: Views | None, keys: Sequence[Key]) -> None:
        """Levels of the painted images, and what albumentations does with them, in place.

        Args:
            painted: ``out`` of ``paint`` by place in the batch.
            views: those of ``paint``.
            keys: of the batch.
        """
        if views is None:
            return
        adjust_levels(painted, views)
        if self.rest is not None:
            for at, image in painted.items():
                self._apply(self.rest, image, image, keys[at])

    def _apply(self, rest: A.Compose, pixels: Image, out: Image, key: Key) -> None:
        np.copyto(out, apply(rest, pixels, seed=None if self.seed is None else (self.seed, *key)))

    def views_alone(self, *, asked: str, instead: str) -> Callable[[Sequence[Key], NDArray[np.int64]], Views]:
        """The views, where there is nothing else to do.

        Args:
            asked: setting that leaves the views to the device.
            instead: setting that allows more.

        Raises:
            DataError: albumentations has a part in it.
        """
        if self.views is None or self.rest is not None:
            raise DataError(
                f"{asked}: crop, flip, brightness and contrast are done on the device, and this augmentation asks for "
                f"more; {instead} with it, or augment=light"
            )
        return self.views


def train_recipe(cfg: AugmentConfig, image_size: int, *, seed: int, exact: bool = False) -> Recipe:
    """Random views, and the steps of ``remaining_steps``; steps of strength 0 are left out."""
    steps = remaining_steps(cfg)
    return Recipe(
        image_size=image_size,
        views=partial(random_views, cfg, seed=seed, jitter=not _mixes_colours(cfg)),
        rest=A.Compose(steps) if steps else None,
        seed=seed,
        exact=exact,
    )


def eval_recipe(resize: str, image_size: int, *, original: bool = True) -> Recipe:
    """Deterministic resize, see ``build_eval_transform``; of pixels from a cache, the same box of them."""
    if original:
        return Recipe(image_size=image_size, views=None, rest=build_eval_transform(resize, image_size))
    return Recipe(image_size=image_size, views=partial(_eval_views, resize), rest=None, exact=False)


def _eval_views(resize: str, _keys: Sequence[Key], sizes_B2: NDArray[np.int64]) -> Views:
    return plain_views(whole_boxes(sizes_B2) if resize == "squash" else centre_boxes(sizes_B2))


def remaining_steps(cfg: AugmentConfig) -> list[A.BasicTransform]:
    """What of a policy albumentations does, after crop and flip, on the square image."""
    steps: list[A.BasicTransform] = []
    if _mixes_colours(cfg):
        steps.append(
            A.ColorJitter(
                brightness=cfg.brightness, contrast=cfg.contrast, saturation=cfg.saturation, hue=cfg.hue, p=1.0
            )
        )
    if cfg.rand_ops > 0:
        steps.append(A.RandomOrder(rand_augment_ops(cfg.rand_magnitude), n=cfg.rand_ops, p=1.0))
    if cfg.cutout > 0:
        side = (cfg.cutout_size, cfg.cutout_size)
        steps.append(
            A.CoarseDropout(
                num_holes_range=(1, 1), hole_height_range=side, hole_width_range=side, fill=GREY, p=cfg.cutout
            )
        )
    return steps


def _mixes_colours(cfg: AugmentConfig) -> bool:
    """Whether brightness and contrast come in random order with saturation and hue, and so belong to ``rest``."""
    return max(cfg.saturation, cfg.hue) > 0


def build_eval_transform(resize: str, image_size: int) -> A.Compose:
    """Deterministic resize to a square of ``image_size`` pixels.

    Args:
        resize: ``squash`` keeps the whole image and loses its aspect; ``crop`` scales the short side to ``image_size``
            and cuts the centre.
        image_size: side of the result, pixels.
    """
    if resize == "squash":
        return A.Compose([_squash(image_size)])
    shrink = A.SmallestMaxSize(max_size=image_size, interpolation=cv2.INTER_LINEAR, area_for_downscale="image")
    return A.Compose([shrink, A.CenterCrop(image_size, image_size)])


def rand_augment_ops(magnitude: float) -> list[A.BasicTransform]:
    """RandAugment's operations (Cubuk et al., 2020, sec. 3) with strengths drawn up to ``magnitude`` in [0, 1].

    Magnitude 1 is the paper's 30 of 30. Strengths are uniform in their range instead of fixed, signs are random.
    """
    m = magnitude
    ops: list[A.BasicTransform] = [
        A.Affine(rotate=(-30 * m, 30 * m), fill=GREY, p=1.0),
        A.Affine(shear={"x": (-17 * m, 17 * m), "y": (0, 0)}, fill=GREY, p=1.0),
        A.Affine(shear={"x": (0, 0), "y": (-17 * m, 17 * m)}, fill=GREY, p=1.0),
        A.Affine(translate_percent={"x": (-0.3 * m, 0.3 * m), "y": (0, 0)}, fill=GREY, p=1.0),
        A.Affine(translate_percent={"x": (0, 0), "y": (-0.3 * m, 0.3 * m)}, fill=GREY, p=1.0),
        A.ColorJitter(brightness=0.9 * m, contrast=0, saturation=0, hue=0, p=1.0),
        A.ColorJitter(brightness=0, contrast=0.9 * m, saturation=0, hue=0, p=1.0),
        A.ColorJitter(brightness=0, contrast=0, saturation=0.9 * m, hue=0, p=1.0),
        A.Sharpen(alpha=(0, 0.9 * m), lightness=(1.0, 1.0), p=1.0),
        A.Posterize(num_bits=(round(7 - 3 * m), 7), p=1.0),
        A.Solarize(threshold_range=(1 - m, 1.0), p=1.0),
        A.Equalize(p=1.0),
        A.AutoContrast(p=1.0),
        A.NoOp(p=1.0),
    ]
    return ops


def apply(transform: A.Compose, image: Image, *, seed: tuple[int, ...] | None = None) -> Image:
    """Run ``transform`` on one image.

    All steps draw from one stream. ``Compose.set_random_seed`` would start every step's own stream at the same
    number, so that, for instance, the crops that are small would also be the ones that are dark.

    Args:
        transform: from ``remaining_steps`` or ``build_eval_transform``.
        image: RGB, uint8 [H, W, 3].
        seed: (run seed, epoch, row), or with a repeat number behind, that alone decides the outcome; None where
            nothing is random.

    Returns:
        uint8 [H, W, 3], of the size that ``transform`` makes of it.
    """
    if seed is not None:
        sequence = np.random.SeedSequence(seed)
        stream = random.Random(int(sequence.generate_state(1, np.uint64)[0]))
        transform.set_random_state(np.random.Generator(np.random.PCG64(sequence)), stream)
    transformed: Image = transform(image=image)["image"]
    return transformed


def _squash(image_size: int) -> A.BasicTransform:
    return A.Resize(image_size, image_size, interpolation=cv2.INTER_LINEAR, area_for_downscale="image")
