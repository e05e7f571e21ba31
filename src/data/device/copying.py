"""The last step of a batch's way: to the device, with its pixels, while the step before still runs.

Lightning copies a batch on the stream of the training step, from pinned memory and without waiting, so that the copy
begins when the step before it has ended. Here copy, decoding and painting have a stream of their own: the host, which
waits for nothing in a step, is ahead of the device by about a step, and the next batch is made meanwhile.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from src.config.schema.data import DataConfig
from src.data.dataset import Batch
from src.data.device.decode import DeviceDecoder
from src.data.device.encoded import HOST
from src.data.device.resident import ResidentImages
from src.data.frames import FileFrames
from src.data.split import Split
from src.data.store.shards import StoreFrames


class DeviceSide:
    """Brings batches to the device; holds what lives there."""

    def __init__(
        self, data: DataConfig, *, train: Callable[[], Split], store: Callable[[], StoreFrames | None]
    ) -> None:
        """Choose where pixels come from; nothing is loaded before a batch needs it.

        Args:
            data: image size, what to do with broken images.
            train: the split whose batches come encoded.
            store: the raw store of ``data.cache=device``.
        """
        self._data = data
        self._train = train
        self._store = store
        self._resident: ResidentImages | None = None
        self._decoder: DeviceDecoder | None = None
        self._stream: Any = None

    def bring(self, batch: Any, device: torch.device) -> Batch:
        """The batch on ``device``, with pixels; later work there waits for it, the host does not."""
        if device.type != "cuda":
            return self._finished(batch, device)
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # in torch
        with torch.cuda.stream(self._stream):
            done = self._finished(batch, device)
        step = torch.cuda.current_stream(device)
        step.wait_stream(self._stream)
        for tensor in cast("dict[str, Tensor]", done).values():
            if tensor.is_cuda:
                tensor.record_stream(step)  # its memory belongs to the other stream: not to be given away before
        return done

    def _finished(self, batch: Any, device: torch.device) -> Batch:
        sent = {
            key: value if "encoded" in batch and key in HOST else value.to(device, non_blocking=True)
            for key, value in batch.items()
        }
        if "encoded" in sent:
            return self._decoding().batch(cast("Any", sent), device)
        if "views" in sent:
            return self._images(device).batch(cast("Any", sent))
        return cast("Batch", sent)

    def _images(self, device: torch.device) -> ResidentImages:
        if self._resident is None:
            frames = self._store()
            if frames is None:
                raise AssertionError("a batch without pixels, and no cache")
            self._resident = ResidentImages(frames, device, image_size=self._data.image_size)
        return self._resident

    def _decoding(self) -> DeviceDecoder:
        if self._decoder is None:
            split, data = self._train(), self._data
            frames = FileFrames(split.index, split.image_dir, max_pixels=data.max_pixels)
            self._decoder = DeviceDecoder(split.index, frames, image_size=data.image_size, on_error=data.on_error)
        return self._decoder
