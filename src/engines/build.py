"""From what is wished for to a function that turns images into logits."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.config.schema.engine import SUPPORTED
from src.engines.errors import EngineError
from src.engines.float32 import exact_float32
from src.engines.folding import fold_batch_norms
from src.engines.graph import onnx_model, to_onnx
from src.engines.parity import Engine
from src.engines.parts import in_parts
from src.engines.quantization import quantize
from src.engines.runtimes import onnxruntime_engine, openvino_engine
from src.runfolder import replacing

GRAPH_VERSION = 2
"""Raised when the same checkpoint would give another graph."""

_FASTEST_FIRST = ("openvino", "onnxruntime", "folded")
"""On a CPU, see docs/inference.md."""

Calibration = Callable[[], Iterable[Tensor]]
"""Batches of uint8 images [B, 3, H, W]; called only where a graph has to be quantised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineWish:
    """Everything that decides what computes the network."""

    engine: str
    """torch | folded | onnxruntime | openvino."""
    precision: str
    """fp32 | bf16 | int8."""
    device: str
    """cpu | cuda; ONNX Runtime and OpenVINO take the CPU only."""
    threads: int
    """Of ONNX Runtime and OpenVINO; PyTorch has its own."""
    image_size: int
    """Height and width of the images."""
    folder: Path
    """Where exported graphs are kept, to be found again."""
    weights: str
    """Names the weights: a digest of the checkpoint."""
    metadata: Mapping[str, Any]
    """What an exported graph says of itself."""
    calibration_images: int = 300
    """How many images the calibration is; a graph of another number is another graph."""


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """Images to logits, and what computes them."""

    name: str
    precision: str
    """What it really computes in, with a reason where that is not what was asked."""
    run: Engine
    graph: Path | None = None
    """The exported file, where there is one."""

    @property
    def differs(self) -> bool:
        """Whether it computes anything but the network itself in float32."""
        return (self.name, self.precision) != ("torch", "fp32")

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Logits [B, C] of uint8 images."""
        return self.run(images_BCHW)


def build_engine(model: nn.Module, wish: EngineWish, calibration: Calibration) -> BuiltEngine:
    """What computes ``model`` as ``wish`` has it.

    Args:
        model: uint8 images to logits; it is put into evaluation mode and moved to ``wish.device``.
        wish: which engine, in which precision, on what.
        calibration: images for ``precision=int8``.

    Raises:
        EngineError: a package is missing, or the engine cannot do it.
    """
    if wish.precision not in SUPPORTED[wish.engine] or wish.engine == "auto":
        raise EngineError(f"engine={wish.engine} precision={wish.precision}: not possible")
    model.eval().to(wish.device)
    if wish.engine in ("torch", "folded"):
        network = fold_batch_norms(model) if wish.engine == "folded" else model
        return BuiltEngine(wish.engine, wish.precision, torch_engine(network, wish.device, precision=wish.precision))
    if wish.device != "cpu":
        raise EngineError(f"engine={wish.engine}: computes on the CPU; device=cpu, or engine=folded on the GPU")
    path = exported(model, wish, calibration)
    if wish.engine == "onnxruntime":
        return BuiltEngine(wish.engine, wish.precision, onnxruntime_engine(path, threads=wish.threads), path)
    engine, used = openvino_engine(path, threads=wish.threads, precision=wish.precision)
    missed = wish.precision == "bf16" and used != "bf16"
    return BuiltEngine(wish.engine, "fp32 (this CPU has no bfloat16)" if missed else wish.precision, engine, path)


def choose_engine(*, device: str, precision: str) -> tuple[str, str]:
    """What ``engine=auto`` means here, and why.

    Args:
        device: cpu | cuda.
        precision: fp32 | bf16 | int8.
    """
    if device != "cpu":
        return "folded", "on a GPU PyTorch without batch norms"
    able = [name for name in _FASTEST_FIRST if precision in SUPPORTED[name]]
    for name in able:
        if name == "folded" or find_spec(name):
            return name, f"the fastest here that is installed, of {', '.join(able)}"
    raise EngineError(f"engine=auto precision={precision}: needs one of {', '.join(able)}; pip install '.[openvino]'")


def torch_engine(network: nn.Module, device: str, *, precision: str) -> Engine:
    """PyTorch without gradients, in float32 or with bfloat16 where autocast takes it."""

    @torch.inference_mode()
    def logits(images_BCHW: Tensor) -> Tensor:
        moved_BCHW = images_BCHW.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        with exact_float32(), torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            return in_parts(network, moved_BCHW).float()

    return logits


def exported(model: nn.Module, wish: EngineWish, calibration: Calibration) -> Path:
    """The ONNX file of a wish, made where it is not there yet; its name holds a digest of all that decides it."""
    precision = "int8" if wish.precision == "int8" else "fp32"
    path = wish.folder / f"{precision}_{_digest(wish, precision)}.onnx"
    if not path.is_file():
        proto = onnx_model(fold_batch_norms(model), image_size=wish.image_size)
        if precision == "int8":
            proto = quantize(proto, calibration())
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, "wb") as file:
            file.write(to_onnx(proto, {**wish.metadata, "precision": precision}))
    return path


def _digest(wish: EngineWish, precision: str) -> str:
    parts = [GRAPH_VERSION, wish.weights, wish.image_size, dict(wish.metadata), precision]
    parts += [wish.calibration_images] if precision == "int8" else []
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
