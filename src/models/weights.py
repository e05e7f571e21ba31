"""Pretrained MobileNetV2 weights: torchvision's own, or a file in its keys."""

import http.client
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from src.models.errors import ModelError, missing_weights
from src.models.mobilenet_v2 import MobileNetV2

IMAGENET_CLASSES = 1000
HEAD_KEYS = ("classifier.1.weight", "classifier.1.bias")
LATE_BUFFER = "num_batches_tracked"  # not in files older than torch 0.4.1
SHOWN = 3
DAMAGE = (  # a broken or refused pickle fails wherever its first wrong byte leads; found by flipping bytes
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


def load_weights(network: MobileNetV2, source: str) -> None:
    """Load a torchvision state dict into ``network``, whatever its output stride and padding.

    ImageNet's 1000-class classifier is left out unless the network has 1000 classes; one of the network's own class
    count is loaded; a file without classifier leaves the network's as it is.

    Args:
        network: changed in place.
        source: "imagenet" (downloaded by torchvision) or the path of a state dict.

    Raises:
        ModelError: no network, no such file, not a state dict, or keys and shapes of another network.
    """
    if source == "imagenet" and network.width != 1:
        raise ModelError(f"model.weights=imagenet: torchvision has model.width=1.0 only, not {network.width:g}")
    state = _imagenet_state() if source == "imagenet" else _read_state(Path(source).expanduser())
    classes = network.classifier[-1].out_features
    imagenet_head = HEAD_KEYS[0] in state and state[HEAD_KEYS[0]].shape[:1] == (IMAGENET_CLASSES,)
    if imagenet_head and classes != IMAGENET_CLASSES:
        state = {key: tensor for key, tensor in state.items() if key not in HEAD_KEYS}
    problems = _mismatches(network, state)
    if problems:
        shown = "; ".join(problems[:SHOWN]) + ("; ..." if len(problems) > SHOWN else "")
        raise ModelError(
            f"model.weights={source}: {len(problems)} keys do not fit, {shown} "
            f"(expected torchvision's mobilenet_v2 at this model.width, with {classes} or {IMAGENET_CLASSES} classes)"
        )
    network.load_state_dict(state, strict=False)


def _mismatches(network: MobileNetV2, state: Mapping[str, Tensor]) -> list[str]:
    expected = network.state_dict()
    optional = () if any(key in state for key in HEAD_KEYS) else HEAD_KEYS
    problems = []
    for key, tensor in expected.items():
        if key in state and state[key].shape != tensor.shape:
            problems.append(f"{key} is {list(state[key].shape)} in the file, {list(tensor.shape)} in the network")
        elif key not in state and key not in optional and not key.endswith(LATE_BUFFER):
            problems.append(f"{key} is missing")
    return problems + [f"{key} is unknown" for key in state if key not in expected]


def _imagenet_state() -> dict[str, Tensor]:
    from torchvision.models import MobileNet_V2_Weights

    try:
        state: dict[str, Tensor] = MobileNet_V2_Weights.DEFAULT.get_state_dict(progress=False, check_hash=True)
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # RuntimeError: the hash does not fit
        raise ModelError(
            f"model.weights=imagenet: the download from {MobileNet_V2_Weights.DEFAULT.url} failed ({_line(error)}); "
            "fetch the file elsewhere and set model.weights=PATH, or train from scratch with model.weights=null"
        ) from error
    return state


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise missing_weights(path) from error
    except OSError as error:
        raise ModelError(f"model.weights={path}: cannot be read ({error.strerror or error})") from error
    except DAMAGE as error:
        cause = _line(error.__context__ or error)  # torch puts a page of advice around the cause
        raise ModelError(
            f"model.weights={path}: refused, not a plain file of tensors ({cause}); "
            "expected what torch.save(model.state_dict(), PATH) writes"
        ) from error
    if isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    keys = f" of {', '.join(map(str, list(content)[:SHOWN]))}" if isinstance(content, Mapping) else ""
    raise ModelError(
        f"model.weights={path}: holds a {type(content).__name__}{keys}; expected a state dict, names to tensors"
    )


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
