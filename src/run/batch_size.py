"""``data.batch_size=0``: the batch that fits, and why."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.config.schema.model import ModelConfig
from src.models.build import build_model
from src.process import available_memory
from src.run.assembly import without_start_weights
from src.run.hardware import Hardware

LARGEST = {"cpu": 32, "cuda": 256}
"""On a CPU a larger batch is no faster; learning rates were chosen at 32 and do not follow the batch."""
SHARE = 0.7
"""Of the free memory; the rest is for gradients on their way, workspaces and what else the machine does."""
COPIES = 4
"""Of each parameter: weight, gradient, two moments of Adam."""
HALF = 0.6
"""Of the float32 bytes kept under 16-bit autocast, where norms still keep float32 statistics."""


@dataclass(frozen=True, slots=True)
class BatchChoice:
    """Images per step, and the sentence that says why."""

    batch_size: int
    reason: str


def choose_batch_size(model_cfg: ModelConfig, *, num_classes: int, image_size: int, hardware: Hardware) -> BatchChoice:
    """The largest power of two whose activations fit the free memory of the device.

    Args:
        model_cfg: the network.
        num_classes: its logits.
        image_size: side of its input, pixels.
        hardware: where it trains, and in which precision.
    """
    network = build_model(without_start_weights(model_cfg), num_classes=num_classes).network
    per_image = bytes_kept_per_image(network, image_size) * (1.0 if hardware.precision == "32-true" else HALF)
    constant = COPIES * sum(p.numel() * p.element_size() for p in network.parameters())
    free, largest = free_memory(hardware.device), LARGEST[hardware.device]
    return choose(per_image, free=free, constant=constant, largest=largest)


def choose(per_image: float, *, free: float, constant: float, largest: int) -> BatchChoice:
    """As ``choose_batch_size``, from bytes.

    Args:
        per_image: kept between forward and backward pass for one image.
        free: memory of the device that nobody uses.
        constant: needed whatever the batch.
        largest: batch that is never exceeded.
    """
    room = SHARE * free - constant
    batch_size = 1
    while batch_size < largest and 2 * batch_size * per_image <= room:
        batch_size *= 2
    why = "no larger one is chosen" if batch_size == largest else f"{2 * batch_size} would not fit"
    return BatchChoice(batch_size, f"{per_image / 1e6:.0f} MB of activations an image, {free / 1e9:.1f} GB free, {why}")


def bytes_kept_per_image(network: nn.Module, image_size: int) -> int:
    """What autograd keeps for the backward pass of one float32 image, each storage once, parameters left out.

    Counted on the meta device: shapes only, nothing is computed.
    """
    twin = copy.deepcopy(network).to("meta").train()
    own = {p.untyped_storage()._cdata for p in twin.parameters()}
    kept: dict[int, tuple[Tensor, int]] = {}  # holds the tensor, so that its storage's address is not given away again

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        twin(torch.empty(2, 3, image_size, image_size, device="meta"))  # batch norm refuses a single value per channel
    return sum(size for _, size in kept.values()) // 2


def free_memory(device: str) -> int:
    """Bytes nobody uses: of the GPU, or of the machine."""
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else available_memory()
