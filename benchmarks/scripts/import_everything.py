"""The start of the usual training script: every import at the top, then Hydra; what a typo or --help waits for."""

import albumentations  # noqa: F401
import hydra
import matplotlib.pyplot  # noqa: F401
import pytorch_lightning  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch
import torchmetrics  # noqa: F401
import torchvision  # noqa: F401
from omegaconf import DictConfig

from src.config.names import CONF_DIR
from src.config.store import register


def task(config: DictConfig) -> None:
    """What would train."""
    torch.manual_seed(config.seed)


if __name__ == "__main__":
    register()
    hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")(task)()
