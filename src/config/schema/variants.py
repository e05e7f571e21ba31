"""Every configuration dataclass by group and variant, and the plain form in which a run keeps its configuration."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from src.config.schema.compare import CompareConfig
from src.config.schema.data import AugmentConfig, AutoConfig, CocoConfig, SampleConfig
from src.config.schema.engine import ExportConfig
from src.config.schema.errors import ConfigError
from src.config.schema.loss import ASLConfig, BCEConfig, FocalConfig, SoftF1Config, TwoWayConfig
from src.config.schema.model import MobileNetV2Config, TimmConfig
from src.config.schema.optim import (
    AdamConfig,
    AdamWConfig,
    ConstantConfig,
    CosineConfig,
    OneCycleConfig,
    PlateauConfig,
    RMSpropConfig,
    SGDConfig,
)
from src.config.schema.predict import PredictConfig
from src.config.schema.root import DescribeConfig, EvaluateConfig, PrepareConfig, TrainConfig
from src.config.schema.sweep import StudyConfig, SweepConfig
from src.config.schema.thresholds import ThresholdsConfig
from src.config.schema.training import CallbacksConfig, DebugConfig, LoggerConfig, TrainerConfig

SCHEMAS: dict[str, type[Any]] = {
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "describe": DescribeConfig,
    "prepare": PrepareConfig,
    "compare": CompareConfig,
    "study": StudyConfig,
    "sweep": SweepConfig,
    "data/auto": AutoConfig,
    "data/coco": CocoConfig,
    "data/sample": SampleConfig,
    "augment": AugmentConfig,
    "model/mobilenetv2": MobileNetV2Config,
    "model/timm": TimmConfig,
    "loss/bce": BCEConfig,
    "loss/focal": FocalConfig,
    "loss/soft_f1": SoftF1Config,
    "loss/asl": ASLConfig,
    "loss/two_way": TwoWayConfig,
    "optimizer/sgd": SGDConfig,
    "optimizer/adam": AdamConfig,
    "optimizer/adamw": AdamWConfig,
    "optimizer/rmsprop": RMSpropConfig,
    "scheduler/constant": ConstantConfig,
    "scheduler/cosine": CosineConfig,
    "scheduler/onecycle": OneCycleConfig,
    "scheduler/plateau": PlateauConfig,
    "trainer": TrainerConfig,
    "callbacks": CallbacksConfig,
    "logger": LoggerConfig,
    "debug": DebugConfig,
    "thresholds": ThresholdsConfig,
}

_NAMES = {schema: path for path, schema in SCHEMAS.items()}


def to_plain(config: TrainConfig) -> dict[str, Any]:
    """Nested plain values, and under ``variants`` which dataclass each group is."""
    groups = {field.name: getattr(config, field.name) for field in fields(config)}
    variants = {name: _NAMES[type(group)] for name, group in groups.items() if type(group) in _NAMES}
    return {**asdict(config), "variants": variants}


def from_plain(content: Mapping[str, Any], *, where: str) -> TrainConfig:
    """The configuration a run was made with; range checks run again.

    Args:
        content: as written by :func:`to_plain`.
        where: file name for the message.

    Raises:
        ConfigError: a variant or key that this version does not know.
    """
    values = {key: value for key, value in content.items() if key != "variants"}
    variants = content.get("variants", {})
    try:
        groups = {name: build_variant(path, values[name]) for name, path in variants.items()}
        return TrainConfig(**(values | groups))
    except (TypeError, KeyError) as error:
        raise ConfigError(f"{where}: not a configuration of this version ({error})") from error


def build_variant(path: str, values: Mapping[str, Any]) -> Any:
    """The dataclass at ``group/variant`` with these values."""
    return SCHEMAS[path](**values)


def variant_name(config: object) -> str:
    """``group/variant`` of a configuration dataclass."""
    return _NAMES[type(config)]
