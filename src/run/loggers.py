"""Optional loggers; metrics.jsonl is written by the run itself."""

import importlib.util
from pathlib import Path

from pytorch_lightning.loggers import Logger

from src.config.schema.errors import ConfigError
from src.config.schema.training import LoggerConfig


def build_loggers(cfg: LoggerConfig, folder: Path, *, name: str) -> list[Logger]:
    """The loggers asked for; each is imported only then.

    Raises:
        ConfigError: the package is not installed; the extra that brings it is named.
    """
    loggers: list[Logger] = []
    if cfg.tensorboard:
        _require("tensorboard")
        from pytorch_lightning.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    if cfg.wandb:
        _require("wandb")
        from pytorch_lightning.loggers import WandbLogger

        loggers.append(WandbLogger(name=name, project=cfg.project, save_dir=folder))
    if cfg.mlflow:
        _require("mlflow")
        from pytorch_lightning.loggers import MLFlowLogger

        loggers.append(MLFlowLogger(experiment_name=cfg.project, run_name=name, save_dir=str(folder / "mlruns")))
    return loggers


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"logger.{package}=true: not installed; pip install '.[{package}]'")
