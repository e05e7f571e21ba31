"""Post-training quantisation to int8: scales of activations from calibration images, biases corrected, no training.

Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019, section 4.2: rounding
weights moves the mean of a layer's output, which the bias can take back. It decides for MobileNetV2, whose depthwise
weights are few and uneven. Measured on 600 real val images (mAP 0.526 in float32, 300 calibration images): NNCF, which
corrects, 0.527; ``onnxruntime.quantization``, which does not, 0.507 at 8 bits and 0.486 at the 7 bits that CPUs
without VNNI need.
"""

import io
import logging
import os
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import Any

from torch import Tensor

from src.engines.errors import needed
from src.engines.graph import INPUT


def quantize(proto: Any, batches: Iterable[Tensor]) -> Any:
    """An ONNX model whose convolutions compute in int8.

    Pooling and the last linear layer stay in float32: they are a sixtieth of the work at most, and the differences
    between places that ``model.pool=attention`` looks for do not survive eight bits (mAP 0.054 instead of 0.548).

    Weights have a scale per output channel, activations one per tensor: with NNCF's default, a scale per channel before
    depthwise convolutions, ONNX Runtime gave 36 images per CPU second, in float32 90. Weights
    take 7 of their 8 bits: products of two would otherwise overflow the 16 bits that AVX2 adds them in.

    Args:
        proto: ``onnx.ModelProto`` in float32, batch norms folded.
        batches: calibration images, uint8 [B, 3, H, W], all of which are used.

    Raises:
        EngineError: nncf, or ONNX Runtime, which it computes with, is missing.
    """
    nncf = _nncf()
    images = [{INPUT: image[None].numpy()} for batch in batches for image in batch.contiguous()]
    advanced = needed("nncf.quantization.advanced_parameters", by="precision=int8", extra="int8")
    activations = advanced.QuantizationParameters(per_channel=False)
    with redirect_stdout(io.StringIO()):  # progress bars
        return nncf.quantize(
            proto,
            nncf.Dataset(images),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=head_nodes(proto)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(activations_quantization_params=activations),
        )


def head_nodes(proto: Any) -> list[str]:
    """Names of the operations behind the last convolution and its activation."""
    nodes = list(proto.graph.node)
    last = max((place for place, node in enumerate(nodes) if node.op_type == "Conv"), default=-1)
    return [node.name for node in nodes[last + 1 :] if node.op_type not in ("Clip", "Constant")]


def _nncf() -> Any:
    """NNCF, kept from reporting to its makers, which it does unless told that this is a test."""
    needed("onnxruntime", by="precision=int8", extra="int8")
    os.environ.setdefault("NNCF_CI", "1")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    nncf = needed("nncf", by="precision=int8", extra="int8")
    nncf.set_log_level(logging.ERROR)  # its import resets the level
    return nncf
