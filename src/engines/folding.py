"""Batch norms folded into the convolutions before them, which in evaluation is the same function.

    gamma (W x + b - mean) / sqrt(var + eps) + beta = W' x + b',
    W' = gamma / sqrt(var + eps) W,   b' = gamma / sqrt(var + eps) (b - mean) + beta

with mean and var the running statistics of training.
"""

import copy
from collections import Counter

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from src.engines.errors import EngineError


class _Tracer(fx.Tracer):
    """Keeps whole what is no class of torch itself: convolutions, and timm's batch norms with an activation inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.BatchNorm2d | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode with every batch norm folded that directly follows a convolution.

    The copy computes the same function up to rounding; its state dict is another one.

    Args:
        model: any network that ``torch.fx`` can trace; it stays as it is.

    Raises:
        EngineError: the network's forward depends on values, so that what follows what is not known.
    """
    folded = copy.deepcopy(model).eval()
    for conv_name, norm_name in _pairs(folded):
        conv, norm = folded.get_submodule(conv_name), folded.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        folded.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
        folded.set_submodule(norm_name, _what_is_left(norm))
    return folded.to(memory_format=torch.channels_last)


def _pairs(model: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norm that alone reads each; modules used twice are left out."""
    try:
        graph = _Tracer().trace(model)
    except (fx.proxy.TraceError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise EngineError(f"engine=folded: this network cannot be traced ({reason}); engine=torch") from error
    modules = dict(model.named_modules())
    calls = [node for node in graph.nodes if node.op == "call_module"]
    uses = Counter(node.target for node in calls)
    found = []
    for node in calls:
        before = node.args[0]
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        conv, norm = modules[str(before.target)], modules[str(node.target)]
        if _foldable(conv) and isinstance(norm, nn.BatchNorm2d) and uses[before.target] == uses[node.target] == 1:
            found.append((str(before.target), str(node.target)))
    return found


def _foldable(conv: nn.Module) -> bool:
    """Whether its weight is used as it stands: timm's weight-standardised ones are convolutions as well."""
    return type(conv) is nn.Conv2d or (isinstance(conv, nn.Conv2d) and getattr(conv, "foldable", False))


def _what_is_left(norm: nn.BatchNorm2d) -> nn.Module:
    """Nothing, or what timm's ``BatchNormAct2d`` does after it has normalised."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
