"""The network as a graph that needs none of this project: an ONNX model or a program of ``torch.export``.

Both take ``images``, uint8 [batch, 3, H, W], RGB, with any batch; normalisation is inside. Both
give ``logits`` [batch, C].
What the answers mean (class names, thresholds) is inside too: an ONNX model has it as metadata, a .pt2 file as an extra
file, see :func:`read_metadata`.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from src.engines.errors import EngineError, needed

INPUT, OUTPUT = "images", "logits"
METADATA_FILE = "metadata.json"

Metadata = Mapping[str, Any]


def export_program(model: nn.Module, *, image_size: int) -> ExportedProgram:
    """The network in evaluation mode as one graph with a free batch dimension.

    Args:
        model: uint8 images to logits; it stays as it is.
        image_size: height and width the graph is made for.
    """
    network = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Hardtanh | nn.ReLU):
            module.inplace = False  # a graph has no writes into its inputs
    images_BCHW = torch.zeros(2, 3, image_size, image_size, dtype=torch.uint8)
    return torch.export.export(network, (images_BCHW,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)


def onnx_model(model: nn.Module, *, image_size: int) -> Any:
    """The network as an ``onnx.ModelProto``.

    Raises:
        EngineError: onnx or onnxscript is missing.
    """
    for package in ("onnx", "onnxscript"):
        needed(package, by="an ONNX graph", extra="onnx")
    with _quiet():
        exported = torch.onnx.export(
            export_program(model, image_size=image_size),
            (),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamo=True,
            verbose=False,
        )
    assert exported is not None
    return exported.model_proto


def to_onnx(proto: Any, metadata: Metadata) -> bytes:
    """An ONNX model as a file's content, with its metadata.

    Args:
        proto: of :func:`onnx_model`; its metadata are replaced.
        metadata: plain values by name; each is stored as JSON.
    """
    del proto.metadata_props[:]
    for name, value in metadata.items():
        proto.metadata_props.add(key=name, value=json.dumps(value, ensure_ascii=False))
    content: bytes = proto.SerializeToString()
    return content


def to_pt2(model: nn.Module, metadata: Metadata, *, image_size: int) -> bytes:
    """The network as the content of a ``.pt2`` file, with its metadata."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(
            export_program(model, image_size=image_size), file, extra_files={METADATA_FILE: json.dumps(dict(metadata))}
        )
    return file.getvalue()


def load_pt2(path: Path) -> nn.Module:
    """The network of a ``.pt2`` file."""
    with _quiet():
        return torch.export.load(path).module()


def read_metadata(path: Path) -> dict[str, Any]:
    """What an exported file says of itself.

    Raises:
        EngineError: neither ``.onnx`` nor ``.pt2``, or the package that reads it is missing.
    """
    match path.suffix:
        case ".onnx":
            proto = needed("onnx", by=str(path), extra="onnx").load(path)
            return {entry.key: json.loads(entry.value) for entry in proto.metadata_props}
        case ".pt2":
            files = {METADATA_FILE: ""}
            with _quiet():
                torch.export.load(path, extra_files=files)
            content: dict[str, Any] = json.loads(files[METADATA_FILE])
            return content
        case _:
            raise EngineError(f"{path}: expected an .onnx or a .pt2 file")


def run_module(module: nn.Module, images_BCHW: Tensor) -> Tensor:
    """Logits [B, C] of a loaded program."""
    with torch.inference_mode():
        logits_BC: Tensor = module(images_BCHW)
    return logits_BC


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters tell of their inner workings in warnings and log lines."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
