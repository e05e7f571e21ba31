"""Which parameters decay, and which learn at the head's rate."""

from typing import Any

from torch import nn

from src.config.schema.optim import OptimizerConfig

SHAPED_NORMS = (nn.LayerNorm, nn.RMSNorm)  # the scales of all others are vectors


def param_groups(model: nn.Module, *, head: nn.Module, cfg: OptimizerConfig) -> list[dict[str, Any]]:
    """Split the parameters into backbone and head, each with and without weight decay.

    Weight decay acts on dense weights only. Norm scales and biases do not decay (He et al., 2019, sec. 3.1), neither
    do depthwise filters (Howard et al., 2017, sec. 3.3: there are so few parameters in them), nor anything that is no
    ``weight``, such as a transformer's class token.

    Args:
        model: every parameter appears in exactly one group. Frozen ones are included, so that they can be unfrozen
            later; without a gradient the optimizer leaves them alone.
        head: part of ``model`` whose learning rate is ``cfg.lr * cfg.head_lr_multiplier``.
        cfg: learning rate, decay and multiplier.

    Returns:
        Non-empty groups for a torch optimizer: ``name``, ``params``, ``lr``, ``weight_decay``.
    """
    in_head = {id(parameter) for parameter in head.parameters()}
    members: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    decaying = {id(parameter) for module in model.modules() for parameter in _decaying(module)}
    for parameter in model.parameters():
        key = (id(parameter) in in_head, id(parameter) in decaying)
        members.setdefault(key, []).append(parameter)
    return [
        {
            "name": ("head" if head_rate else "backbone") + ("" if decays else "_no_decay"),
            "params": parameters,
            "lr": cfg.lr * (cfg.head_lr_multiplier if head_rate else 1.0),
            "weight_decay": cfg.weight_decay if decays else 0.0,
        }
        for (head_rate, decays), parameters in sorted(members.items(), key=lambda item: (item[0][0], not item[0][1]))
    ]


def _decaying(module: nn.Module) -> list[nn.Parameter]:
    if isinstance(module, SHAPED_NORMS) or _is_depthwise(module):
        return []
    own = module.named_parameters(recurse=False)
    return [parameter for name, parameter in own if name.endswith("weight") and parameter.ndim > 1]


def _is_depthwise(module: nn.Module) -> bool:
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return False
    return module.groups == module.in_channels > 1
