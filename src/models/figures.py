"""What a network costs: parameters, leaf modules, activation memory, multiplications.

Counted on the meta device: shapes only, no memory, no arithmetic, milliseconds at any image size.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

BYTES_PER_OUTPUT = 2 * 4  # float32, once forward and once backward, as torchsummary counts
MEGABYTE = 2**20
_SHAPE_KEEPING = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish)
"""Modules whose output is as large as their input: on the meta device each would cost more than a convolution."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Cost of one image."""

    parameters: int
    leaf_modules: int
    activation_mb: float
    """2 x 4 bytes x outputs of every module that is no Sequential (the network itself left out), in 2^20 bytes."""
    gmac: float
    """Multiply-accumulates of convolutions and linear layers, in 10^9."""


def model_figures(network: nn.Module, image_size: int) -> Figures:
    """Count ``network`` on one square RGB image.

    Args:
        network: takes float [1, 3, image_size, image_size]; left untouched.
        image_size: side in pixels.
    """
    twin = copy.deepcopy(network).to("meta").eval()
    _let_pass(twin)
    outputs = macs = 0

    def count(module: nn.Module, _: tuple[object, ...], output: object) -> None:
        nonlocal outputs, macs
        sizes = [leaf.numel() for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        outputs += sum(sizes)
        macs += sum(sizes) * _macs_per_output(module)

    for module in twin.modules():
        if module is not twin and not isinstance(module, nn.Sequential):
            module.register_forward_hook(count)
    with torch.no_grad():
        twin(torch.empty(1, 3, image_size, image_size, device="meta"))
    return Figures(
        parameters=sum(p.numel() for p in network.parameters()),
        leaf_modules=sum(1 for module in network.modules() if not any(module.children())),
        activation_mb=outputs * BYTES_PER_OUTPUT / MEGABYTE,
        gmac=macs / 1e9,
    )


def _let_pass(network: nn.Module) -> None:
    """Replace what keeps the shape by identities, in place: three quarters of the time of a pass."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in _SHAPE_KEEPING:
                setattr(parent, name, nn.Identity())


def _macs_per_output(module: nn.Module) -> int:
    match module:
        case nn.Conv2d():
            return module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
        case nn.Linear():
            return module.in_features
        case _:
            return 0
