"""ONNX Runtime and OpenVINO: an ONNX file in, a function from images to logits out. Both compute on the CPU."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.engines.errors import needed
from src.engines.graph import INPUT
from src.engines.parity import Engine


def onnxruntime_engine(path: Path, *, threads: int) -> Engine:
    """The graph of ``path`` in ONNX Runtime.

    Args:
        path: an ONNX model.
        threads: of the computation.

    Raises:
        EngineError: ONNX Runtime is missing.
    """
    runtime = needed("onnxruntime", by="engine=onnxruntime", extra="onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def logits(images_BCHW: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: _array(images_BCHW)})[0])

    return logits


def openvino_engine(path: Path, *, threads: int, precision: str) -> tuple[Engine, str]:
    """The graph of ``path`` in OpenVINO, and the element type it really computes in.

    A CPU without bfloat16 computes in float32 whatever is asked; the second value says so.

    Args:
        path: an ONNX model.
        threads: of the computation.
        precision: ``fp32``, ``bf16`` or ``int8``; the last is a property of the graph, the rest of which is float32.

    Raises:
        EngineError: OpenVINO is missing.
    """
    runtime = needed("openvino", by="engine=openvino", extra="openvino")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    core = runtime.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    request = compiled.create_infer_request()
    used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()

    def logits(images_BCHW: Tensor) -> Tensor:
        found = request.infer({INPUT: _array(images_BCHW)}, share_inputs=True)
        return torch.from_numpy(found[0].copy())

    return logits, used


def _array(images_BCHW: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Contiguous, as the graph's shape reads: batches of the loaders lie in memory as NHWC."""
    return np.ascontiguousarray(images_BCHW.cpu().numpy())
