"""``trainer.compile``: torch.compile of the network's training step, and what must be true for it.

Training batches of full size go through the compiled network. Everything else stays as it is: evaluation, which has
other shapes and swaps the averaged weights in, and a batch that broken images made smaller, for each new shape would be
compiled (and recorded as a CUDA graph) anew. The loss is computed outside, so no output of a graph outlives its step.
"""

import logging
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.config.schema.errors import ConfigError
from src.config.schema.root import TrainConfig
from src.run.hardware import Hardware

_log = logging.getLogger(__name__)

GRAPHS = "reduce-overhead"
"""The choice that records CUDA graphs."""
BACKEND = "inductor"
COMPILERS = ("cc", "gcc", "clang")


def check_compile(config: TrainConfig, hardware: Hardware) -> None:
    """Refuse what cannot work or cannot pay, and warn of what seldom does; to be called before work begins.

    Raises:
        ConfigError: CUDA graphs without CUDA or where their memory would be overwritten, no C compiler, an old GPU.
    """
    wish, trainer = config.trainer.compile, config.trainer
    if wish == "off":
        return
    said = f"trainer.compile={wish}"
    if hardware.device != "cuda":
        if wish == GRAPHS:
            raise ConfigError(f"{said}: records CUDA graphs, and this run trains on the CPU; trainer.compile=off")
        _log.warning(
            "%s: on a CPU it was slower than not compiling wherever it was measured; trainer.compile=off", said
        )
    elif torch.cuda.get_device_capability() < (7, 0):
        raise ConfigError(f"{said}: needs a GPU of compute capability 7.0 or higher; trainer.compile=off")
    if not os.environ.get("CC") and not any(map(shutil.which, COMPILERS)):
        raise ConfigError(f"{said}: no C compiler ({', '.join(COMPILERS)}, or CC) is installed; trainer.compile=off")
    if getattr(config.model, "recompute", False):
        raise ConfigError(f"{said}: not with model.recompute=true; a compiled network decides itself what to keep")
    if wish == GRAPHS and trainer.accumulate > 1:
        raise ConfigError(
            f"{said}: the next replay of a CUDA graph overwrites gradients that trainer.accumulate={trainer.accumulate}"
            " still adds to; trainer.compile=default, or trainer.accumulate=1"
        )
    if wish == GRAPHS and trainer.devices > 1:
        raise ConfigError(f"{said}: with trainer.devices=1 only; trainer.compile=default")


def compiled_forward(
    model: nn.Module, wish: str, *, batch_size: int, backend: str | Callable[..., object] | None = None
) -> Callable[[Tensor], Tensor]:
    """``model`` for training steps, compiled at the first of them.

    A plain function, so that neither the state dict nor the deep copy of the average knows of it.

    Args:
        model: images to logits.
        wish: default | reduce-overhead | max-autotune-no-cudagraphs.
        batch_size: images of a full batch; others are not compiled for.
        backend: of torch.compile; None is ``BACKEND``. Modes belong to inductor alone.
    """
    chosen = backend or BACKEND
    mode = wish if chosen == "inductor" and wish != "default" else None

    def network(images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = model(images_BCHW)
        return logits_BC

    compiled = torch.compile(network, dynamic=False, mode=mode, backend=chosen)

    def forward(images_BCHW: Tensor) -> Tensor:
        if not model.training or len(images_BCHW) != batch_size:
            return network(images_BCHW)
        if wish == GRAPHS:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # the last replay is done with
        return compiled(images_BCHW)

    return forward
