"""Any timm network behind the same Classifier; timm is imported only when one is asked for."""

import importlib
from typing import Any

from torch import nn

from src.config.schema.model import TimmConfig
from src.config.schema.rules import nearest
from src.models.classifier import Classifier
from src.models.errors import ModelError
from src.models.preprocess import Normalize


def timm_classifier(cfg: TimmConfig, num_classes: int) -> Classifier:
    """Build ``cfg.name`` with its own normalisation and stages.

    Stages are timm's coarse parameter groups (stem, stage 1, ...). Parameters that belong to no submodule (a
    transformer's class token and position embedding) are in none of them and always train.

    Raises:
        ModelError: timm missing, unknown name, unsupported output stride, failed download, or no linear classifier.
    """
    timm = _timm(cfg.name)
    if not timm.is_model(cfg.name):
        near = nearest(cfg.name, timm.list_models())
        hint = f"; did you mean model.name={near}?" if near else "; timm.list_models() names them"
        raise ModelError(f"model.name={cfg.name}: timm {timm.__version__} has no such network{hint}")
    network = _create(timm, cfg, num_classes)
    head = network.get_classifier()
    if not isinstance(head, nn.Linear):
        raise ModelError(f"model.name={cfg.name}: its classifier is {type(head).__name__}, expected one linear layer")
    normalisation = timm.data.resolve_model_data_config(network)
    head_name = next(name for name, module in network.named_modules() if module is head)
    return Classifier(
        Normalize(normalisation["mean"], normalisation["std"]),
        network,
        head_name=head_name,
        stage_names=_stage_names(timm, network, head_name),
    )


def _timm(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ModelError(f"model.name={name}: needs timm; pip install '.[timm]'") from error


def _create(timm: Any, cfg: TimmConfig, num_classes: int) -> Any:
    stride = {} if cfg.output_stride == 32 else {"output_stride": cfg.output_stride}
    try:
        return timm.create_model(
            cfg.name, pretrained=cfg.pretrained, num_classes=num_classes, drop_rate=cfg.dropout, **stride
        )
    except (TypeError, NotImplementedError, AssertionError) as error:
        if not stride:
            raise
        raise ModelError(
            f"model.output_stride={cfg.output_stride}: {cfg.name} does not support it; set model.output_stride=32"
        ) from error
    except (OSError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"model.name={cfg.name}, model.pretrained={cfg.pretrained}: {reason}") from error


def _stage_names(timm: Any, network: Any, head_name: str) -> tuple[tuple[str, ...], ...]:
    groups = timm.models.group_modules(network, network.group_matcher(coarse=True)).values()
    stages = (tuple(name for name in names if name != head_name) for names in groups)
    return tuple(names for names in stages if names)
