"""Optional loggers; metrics.jsonl is written by the run itself."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.config.schema.errors import ConfigError
from src.config.schema.training import LoggerConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pytorch_lightning.loggers import Logger

PACKAGES = ("tensorboard", "wandb", "mlflow")


def check_loggers(cfg: LoggerConfig) -> None:
    """See that what the loggers need is there, without loading it.

    Raises:
        ConfigError: a package is not installed; the extra that brings it is named.
    """
    for package in PACKAGES:
        if getattr(cfg, package) and importlib.util.find_spec(package) is None:
            raise ConfigError(f"logger.{package}=true: not installed; pip install '.[{package}]'")


def build_loggers(cfg: LoggerConfig, folder: Path, *, name: str) -> list["Logger"]:
    """The loggers asked for; each is imported only then.

    Raises:
        ConfigError: as :func:`check_loggers`.
    """
    check_loggers(cfg)
    loggers: list[Logger] = []
    if cfg.tensorboard:
        from pytorch_lightning.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    if cfg.wandb:
        from pytorch_lightning.loggers import WandbLogger

        loggers.append(WandbLogger(name=name, project=cfg.project, save_dir=folder))
    if cfg.mlflow:
        from pytorch_lightning.loggers import MLFlowLogger

        loggers.append(MLFlowLogger(experiment_name=cfg.project, run_name=name, save_dir=str(folder / "mlruns")))
    return loggers


def log_figures(loggers: Sequence["Logger"], figures: Mapping[str, "Figure"]) -> None:
    """Hand the report's pictures to every logger, once, at the end of a run."""
    logger: Any  # ``experiment`` is an object of its own library in each
    for logger in loggers:
        match type(logger).__name__:
            case "TensorBoardLogger":
                for name, figure in figures.items():
                    logger.experiment.add_figure(f"report/{name}", figure)
            case "WandbLogger":
                from wandb import Image

                pictures = {f"report/{name}": Image(figure) for name, figure in figures.items()}
                logger.experiment.log(pictures)
            case "MLFlowLogger":
                for name, figure in figures.items():
                    logger.experiment.log_figure(logger.run_id, figure, f"report/{name}.png")
