"""What is looked at before torch is loaded: paths and packages that a training names and that are not there."""

from pathlib import Path

from src.config.schema.data import AutoConfig, CocoConfig
from src.config.schema.model import MobileNetV2Config
from src.config.schema.root import TrainConfig
from src.data.source import locate
from src.models.errors import missing_weights
from src.run.loggers import check_loggers


def check_config(config: TrainConfig) -> None:
    """Answer a wrong path at once; everything else shows while the run is prepared.

    Raises:
        UserError: no such data folder, labels, images or weights file; a logger that is not installed.
    """
    check_loggers(config.logger)
    data = config.data
    if isinstance(data, CocoConfig) and not (isinstance(data, AutoConfig) and data.root == AutoConfig().root):
        locate(data, cache_dir=Path(config.cache_dir))  # what is left may draw the sample, which needs OpenCV
    model = config.model
    if isinstance(model, MobileNetV2Config) and model.weights not in (None, "imagenet"):
        path = Path(str(model.weights)).expanduser()
        if not path.exists():
            raise missing_weights(path)
