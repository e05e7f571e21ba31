"""Where training decodes its JPEGs: what ``data.decode`` stands for on this machine."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from src.config.schema.data import AugmentConfig, DataConfig
from src.data.augment.recipe import remaining_steps
from src.data.device.decode import why_not
from src.data.errors import DataError

_NO_GPU = "the run trains on the CPU"
"""Settles ``auto``; whoever asks for it there gets torchvision's decoder of the CPU, in the training process."""


@dataclass(frozen=True, slots=True)
class DecodeChoice:
    """Where JPEGs are decoded, and why."""

    kind: str
    """cpu | device."""
    reason: str


def choose_decode(
    data: DataConfig, augment: AugmentConfig, device: str, *, probe: Callable[[torch.device], str] = why_not
) -> DecodeChoice:
    """Resolve ``auto``, and refuse what cannot be done.

    Args:
        data: ``decode``, ``cache`` (decided) and ``exact_resize``.
        augment: training augmentation.
        device: cpu | cuda, where the run trains.
        probe: why JPEGs cannot be decoded on a device, or nothing.

    Raises:
        DataError: ``device`` asked for, and the augmentation or the machine does not allow it.
    """
    if data.decode == "cpu":
        return DecodeChoice("cpu", "asked for")
    obstacle = _obstacle(data, augment, device, probe)
    if data.decode == "auto":
        return DecodeChoice("cpu", obstacle) if obstacle else DecodeChoice("device", "CUDA decodes JPEGs")
    if obstacle and obstacle != _NO_GPU:
        raise DataError(f"data.decode=device: {obstacle}; data.decode=cpu")
    return DecodeChoice("device", "asked for")


def _obstacle(data: DataConfig, augment: AugmentConfig, device: str, probe: Callable[[torch.device], str]) -> str:
    if data.cache != "none":
        return f"data.cache={data.cache} is read instead of the original files"
    if data.shards:
        return "data.shards is read instead of the original files"
    if data.exact_resize:
        return "data.exact_resize=true averages areas on the CPU"
    if steps := remaining_steps(augment):
        names = ", ".join(dict.fromkeys(type(step).__name__ for step in steps))
        return f"albumentations does a part of this augmentation ({names}) on the CPU"
    if reason := probe(torch.device(device)):
        return f"torchvision cannot decode JPEGs on {device} ({reason})"
    return _NO_GPU if device == "cpu" else ""
