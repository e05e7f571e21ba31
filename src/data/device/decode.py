"""JPEGs decoded on the device, and what to do where it cannot.

torchvision's decoder: nvjpeg on CUDA, libjpeg-turbo on the CPU. From 0.29 on it announces its own removal in favour of
TorchCodec; ``decode_jpegs`` is the one place that knows of it.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from src.data.coco.index import CocoIndex
from src.data.dataset import Batch
from src.data.device.encoded import EncodedTicket
from src.data.device.paint import paint_images
from src.data.errors import DataError, ImageError
from src.data.frames import FileFrames, named

Decode = Callable[[list[Tensor], torch.device], list[Tensor]]


@cache
def _torchvision() -> Any:
    # 2 s of start-up, for those alone who decode here
    try:
        from torchvision.io import decode_jpeg
    except ImportError as error:
        raise DataError(
            f"data.decode=device: this torchvision has no decode_jpeg ({error}); data.decode=cpu"
        ) from error
    warnings.filterwarnings("ignore", "(?s).*superseded by.*TorchCodec", DeprecationWarning)
    return decode_jpeg


def decode_jpegs(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decode a batch.

    Args:
        files: uint8 [bytes] each, on the host; at least one.
        device: where to decode.

    Returns:
        RGB, uint8 [3, H, W] each, not rotated.

    Raises:
        DataError: torchvision does not offer it.
        RuntimeError: one of them cannot be decoded, or the device cannot decode at all.
    """
    images: list[Tensor] = _torchvision()(files, mode="RGB", device=device)
    return images


def why_not(device: torch.device, decode: Decode = decode_jpegs) -> str:
    """Why JPEGs cannot be decoded there, found by decoding one; empty where they can."""
    grey_HWC = np.full((16, 16, 3), 128, np.uint8)
    file = torch.from_numpy(cv2.imencode(".jpg", grey_HWC)[1].reshape(-1))
    try:
        (image,) = decode([file], device)
    except (DataError, RuntimeError) as error:
        return str(error).splitlines()[0]
    return "" if image.shape == (3, 16, 16) else f"it made {tuple(image.shape)} of 16x16 pixels"


class DeviceDecoder:
    """Gives batches of ``EncodedDataset`` their pixels."""

    def __init__(
        self, index: CocoIndex, frames: FileFrames, *, image_size: int, on_error: str, decode: Decode = decode_jpegs
    ) -> None:
        """As the dataset of the tickets.

        Args:
            index: for the numbers of images in messages.
            frames: decodes on the CPU what the device refuses.
            image_size: side of the result, pixels.
            on_error: ``skip`` | ``raise``.
            decode: files to pixels on a device.
        """
        self._index = index
        self._frames = frames
        self._image_size = image_size
        self._on_error = on_error
        self._decode = decode

    def batch(self, ticket: EncodedTicket, device: torch.device) -> Batch:
        """The batch that ``ticket`` stands for, on ``device``.

        Raises:
            ImageError: an image that neither the device nor the CPU can decode, with ``on_error=raise``.
        """
        images, broken = self._decoded(ticket, device)
        image_B3SS = self._painted(ticket, images, device)
        batch: Batch = {
            "image": image_B3SS,
            "target": ticket["target"],
            "image_id": ticket["image_id"],
            "row": ticket["row"],
            "skipped": ticket["skipped"],
        }
        return _without(batch, broken) if broken else batch

    def _decoded(self, ticket: EncodedTicket, device: torch.device) -> tuple[dict[int, Tensor], list[int]]:
        """Pixels by position in the batch, and the positions of broken images."""
        positions = ticket["at"].tolist()
        if not positions:
            return {}, []
        files = list(torch.split(ticket["encoded"], ticket["lengths"].tolist()))
        try:
            return dict(zip(positions, self._decode(files, device), strict=True)), []
        except RuntimeError:  # of the whole batch, and it does not say which: one by one
            return self._one_by_one(positions, ticket["place"].tolist(), files, device)

    def _one_by_one(
        self, positions: Sequence[int], places: Sequence[int], files: Sequence[Tensor], device: torch.device
    ) -> tuple[dict[int, Tensor], list[int]]:
        images, broken = {}, []
        for i, file in zip(positions, files, strict=True):
            try:
                images[i] = self._alone(places[i], file, device)
            except ImageError as error:
                if self._on_error == "raise":
                    raise named(error, self._index, places[i]).stopping() from error
                broken.append(i)
        return images, broken

    def _alone(self, place: int, file: Tensor, device: torch.device) -> Tensor:
        try:
            return self._decode([file], device)[0]
        except RuntimeError:
            pixels_HWC = self._frames.decode(place, file.numpy().tobytes())
            return torch.from_numpy(pixels_HWC).permute(2, 0, 1).to(device)

    def _painted(self, ticket: EncodedTicket, images: dict[int, Tensor], device: torch.device) -> Tensor:
        """uint8 [B, 3, S, S]; broken images stay as they happen to be."""
        side, count = self._image_size, len(ticket["place"])
        encoded, chosen = ticket["at"].tolist(), list(images)
        boxes = dict(zip(encoded, ticket["boxes"].tolist(), strict=True))
        chosen_boxes = [boxes[i] for i in chosen]
        if count and len(chosen) == count:
            return paint_images(list(images.values()), chosen_boxes, ticket["views"], image_size=side)
        out = torch.empty((count, 3, side, side), dtype=torch.uint8, device=device, memory_format=torch.channels_last)
        if images:
            views = ticket["views"][chosen]
            out[chosen] = paint_images(list(images.values()), chosen_boxes, views, image_size=side)
        if others := sorted(set(range(count)) - set(encoded)):
            out[others] = ticket["painted"].permute(0, 3, 1, 2)
        return out


def _without(batch: Batch, broken: Sequence[int]) -> Batch:
    """Leave images out, and say so."""
    kept = [i for i in range(len(batch["row"])) if i not in broken]
    return {
        "image": batch["image"][kept],
        "target": batch["target"][kept],
        "image_id": batch["image_id"][kept],
        "row": batch["row"][kept],
        "skipped": torch.cat([batch["skipped"], batch["row"][list(broken)]]),
    }
