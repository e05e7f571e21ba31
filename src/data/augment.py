"""Training augmentation and evaluation resize: uint8 in, uint8 out.

The randomness of an augmented image is a function of (seed, epoch, row) and of nothing else: neither the worker nor the
order in which images are asked for can change it, so a resumed run sees what the uninterrupted one would have seen.
"""

import os
import random

import cv2
import numpy as np
from numpy.typing import NDArray

from src.config.schema.data import AugmentConfig

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it asks the network for its newest version at import otherwise

import albumentations as A

Image = NDArray[np.uint8]

GREY = (124.0, 116.0, 104.0)
"""ImageNet's mean colour: fills what a transform leaves bare, about zero after normalisation."""


def build_train_transform(cfg: AugmentConfig, image_size: int) -> A.Compose:
    """Random transforms to a square of ``image_size`` pixels; steps of strength 0 are left out."""
    steps = [_random_crop(cfg, image_size) if cfg.crop_min_scale < 1 else _squash(image_size)]
    if cfg.flip > 0:
        steps.append(A.HorizontalFlip(p=cfg.flip))
    if max(cfg.brightness, cfg.contrast, cfg.saturation, cfg.hue) > 0:
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
    return A.Compose(steps)


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
        transform: from ``build_train_transform`` or ``build_eval_transform``.
        image: RGB, uint8 [H, W, 3].
        seed: (run seed, epoch, row), or with a repeat number behind, that alone decides the outcome; None where
            nothing is random.

    Returns:
        uint8 [image_size, image_size, 3].
    """
    if seed is not None:
        sequence = np.random.SeedSequence(seed)
        stream = random.Random(int(sequence.generate_state(1, np.uint64)[0]))
        transform.set_random_state(np.random.Generator(np.random.PCG64(sequence)), stream)
    return transform(image=image)["image"]  # type: ignore[no-any-return]


def _squash(image_size: int) -> A.BasicTransform:
    return A.Resize(image_size, image_size, interpolation=cv2.INTER_LINEAR, area_for_downscale="image")


def _random_crop(cfg: AugmentConfig, image_size: int) -> A.BasicTransform:
    return A.RandomResizedCrop(
        size=(image_size, image_size),
        scale=(cfg.crop_min_scale, 1.0),
        ratio=(1 / cfg.crop_max_ratio, cfg.crop_max_ratio),
        interpolation=cv2.INTER_LINEAR,
        area_for_downscale="image",
    )
