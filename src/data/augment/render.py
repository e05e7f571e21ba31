"""From pixels and a view's box and flip to the network's input, by OpenCV, without a copy more than needed.

Unless it is to be exact, a view is halved by averaging 2 x 2 pixels as often as that leaves enough of it; the rest is
bilinear. Shrinking by up to two, bilinear still looks at every pixel, so little is lost against averaging over areas
(OpenCV's INTER_AREA), which takes seven times as long, a quarter of all that is done to an image. Only a view that
shrinks by more than two in one direction alone passes pixels over, a third of the columns of COCO's 640 at 224 at most.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.augment.views import Views
from src.data.images.box_decoder import Box

Image = NDArray[np.uint8]


def render(pixels_HWC: Image, views: Views, at: int, out_SSC: Image, *, shown: Box, exact: bool) -> None:
    """Write view ``at`` of an image into ``out_SSC``; its levels are ``adjust_levels``'s.

    Args:
        pixels_HWC: RGB, the image at any scale, its aspect kept or not, whole or as much as the view needs.
        views: boxes in pixels of the original.
        at: which of the views.
        out_SSC: contiguous, uint8 [S, S, 3].
        shown: what of the original the pixels show.
        exact: average over areas where the view is shrunk; slow.
    """
    height, width = pixels_HWC.shape[:2]
    left, top, right, bottom = scaled_box(views.box(at), shown, (width, height))
    crop = pixels_HWC[top:bottom, left:right]
    flip = bool(views.flips_B[at])
    side = out_SSC.shape[0]
    while not exact and min(crop.shape[:2]) >= 2 * side:
        crop = _halved(crop)
    if crop.shape[:2] != (side, side):
        how = cv2.INTER_AREA if exact and max(crop.shape[:2]) > side else cv2.INTER_LINEAR
        cv2.resize(crop, (side, side), dst=out_SSC, interpolation=how)
        if flip:
            cv2.flip(out_SSC, 1, dst=out_SSC)
    elif flip:
        cv2.flip(crop, 1, dst=out_SSC)
    else:
        np.copyto(out_SSC, crop)


def _halved(pixels_HWC: Image) -> Image:
    """Means of 2 x 2 pixels; an odd last row or column is left out, for OpenCV is quick at exact halves alone."""
    height, width = pixels_HWC.shape[0] // 2, pixels_HWC.shape[1] // 2
    even_HWC = pixels_HWC[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(even_HWC, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def scaled_box(box: Box, shown: Box, scaled: tuple[int, int]) -> Box:
    """The box in pixels of ``scaled`` width and height that show ``shown``: whole pixels, at least one each way."""
    left, top, right, bottom = box[0] - shown[0], box[1] - shown[1], box[2] - shown[0], box[3] - shown[1]
    size = shown[2] - shown[0], shown[3] - shown[1]
    if scaled == size:
        return left, top, right, bottom
    x_scale, y_scale = scaled[0] / size[0], scaled[1] / size[1]
    left, top = min(round(left * x_scale), scaled[0] - 1), min(round(top * y_scale), scaled[1] - 1)
    return left, top, max(round(right * x_scale), left + 1), max(round(bottom * y_scale), top + 1)
