"""Views painted by torch, on whatever device the pixels lie: what ``render`` does on the CPU, for a batch at once."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from src.data.augment.views import Views
from src.data.dataset import ENOUGH

_GREY = (0.299, 0.587, 0.114)


def view_numbers(views: Views, boxes_B4: NDArray[np.float32]) -> NDArray[np.float32]:
    """Views as one array, float32 [B, 8]: left, top, right, bottom, flip, brightness, contrast, contrast first.

    Args:
        views: flips and factors.
        boxes_B4: their boxes in the pixels that will be painted from.
    """
    columns = (views.flips_B, views.brightness_B, views.contrast_B, views.contrast_first_B)
    return np.concatenate([boxes_B4, np.column_stack(columns)], axis=1, dtype=np.float32)


def paint_batch(images_BHWC: Tensor, views_B8: Tensor, *, image_size: int) -> Tensor:
    """What ``render`` does, for a batch on its device.

    Args:
        images_BHWC: uint8, squares of one size.
        views_B8: see ``view_numbers``.
        image_size: side of the result.

    Returns:
        Uint8 [B, 3, image_size, image_size], channels_last.
    """
    pixels = images_BHWC.permute(0, 3, 1, 2).float()
    boxes_B4, flips_B = views_B8[:, :4], views_B8[:, 4] > 0
    x_BS = _centres(boxes_B4[:, 0], boxes_B4[:, 2], image_size)
    x_BS = torch.where(flips_B[:, None], x_BS.flip(1), x_BS)
    y_BS = _centres(boxes_B4[:, 1], boxes_B4[:, 3], image_size)
    side = pixels.shape[-1]
    grid_BSS2 = torch.stack(
        [
            ((2 * x_BS + 1) / side - 1)[:, None, :].expand(-1, image_size, -1),
            ((2 * y_BS + 1) / side - 1)[:, :, None].expand(-1, -1, image_size),
        ],
        dim=3,
    )
    shown = F.grid_sample(pixels, grid_BSS2, mode="bilinear", padding_mode="border", align_corners=False).round_()
    return _coloured(shown, views_B8)


def paint_images(
    images: Sequence[Tensor], boxes: Sequence[Sequence[int]], views_B8: Tensor, *, image_size: int
) -> Tensor:
    """The same for images of any sizes, shrunk as ``render`` shrinks what a JPEG decoder gave it.

    Args:
        images: uint8 [3, H, W] each.
        boxes: left, top, right, bottom in their pixels, on the host: they decide shapes.
        views_B8: see ``view_numbers``; its boxes are not used.
        image_size: side of the result.

    Returns:
        Uint8 [B, 3, image_size, image_size], channels_last.
    """
    shown = torch.stack([_fitted(image, box, image_size) for image, box in zip(images, boxes, strict=True)])
    flips_B111 = (views_B8[:, 4] > 0)[:, None, None, None]
    return _coloured(torch.where(flips_B111, shown.flip(3), shown).round_(), views_B8)


def _fitted(image_CHW: Tensor, box: Sequence[int], side: int) -> Tensor:
    """The box, halved while enough is left of it, then bilinear; float32 [3, side, side].

    The first halving stands for the one that ``MultiLabelDataset`` leaves to the JPEG decoder, under its condition, and
    rounds odd sizes up as that does.
    """
    left, top, right, bottom = box
    crop = image_CHW[None, :, top:bottom, left:right].float()
    enough = ENOUGH
    while min(crop.shape[2:]) >= 2 * enough * side:
        crop, enough = F.avg_pool2d(crop, 2, ceil_mode=enough < 1), 1.0
    if crop.shape[2:] != (side, side):
        crop = F.interpolate(crop, (side, side), mode="bilinear", align_corners=False)
    return crop[0]


def _coloured(shown: Tensor, views_B8: Tensor) -> Tensor:
    """Brightness and contrast in each image's order; uint8, channels_last."""
    brightness_B, contrast_B, first_B = views_B8[:, 5], views_B8[:, 6], views_B8[:, 7] > 0
    shown = _contrasted(shown, torch.where(first_B, contrast_B, torch.ones_like(contrast_B)))
    shown = (shown * brightness_B[:, None, None, None]).clamp_(0, 255).floor_()
    shown = _contrasted(shown, torch.where(first_B, torch.ones_like(contrast_B), contrast_B))
    return shown.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def _centres(start_B: Tensor, stop_B: Tensor, count: int) -> Tensor:
    """Where ``count`` pixels lie within boxes, in pixel centres, [B, count]; inside the box, as ``cv2.resize``."""
    steps = (torch.arange(count, device=start_B.device, dtype=start_B.dtype) + 0.5) / count
    places = start_B[:, None] + steps * (stop_B - start_B)[:, None] - 0.5
    return places.clamp(start_B[:, None], stop_B[:, None] - 1)


def _contrasted(images_BCHW: Tensor, factors_B: Tensor) -> Tensor:
    red_B, green_B, blue_B = images_BCHW.mean(dim=(2, 3)).unbind(1)
    # as numbers: in a tensor the weights would be a copy to the device that the host waits for
    means_B = _GREY[0] * red_B + _GREY[1] * green_B + _GREY[2] * blue_B
    factors = factors_B[:, None, None, None]
    changed = (images_BCHW * factors + (1 - factors) * means_B[:, None, None, None]).clamp_(0, 255).floor_()
    return torch.where(factors == 1, images_BCHW, changed)
