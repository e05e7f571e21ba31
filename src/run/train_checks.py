"""What is looked at before torch is loaded: paths and packages that a training names and that are not there."""

from pathlib import Path

from src.config.schema.model import MobileNetV2Config
from src.config.schema.root import TrainConfig
from src.data.source import check_paths, require_cache
from src.models.errors import missing_weights
from src.run.loggers import check_loggers


def check_config(config: TrainConfig) -> None:
    """Answer a wrong path at once; everything else shows while the run is prepared.

    Raises:
        UserError: no such data folder, labels, images or weights file; a cache that cannot be written; a logger
            that is not installed.
    """
    check_loggers(config.logger)
    check_paths(config.data)
    model = config.model
    if isinstance(model, MobileNetV2Config) and model.weights not in (None, "imagenet"):
        path = Path(str(model.weights)).expanduser()
        if not path.exists():
            raise missing_weights(path)
    require_cache(Path(config.cache_dir))  # last: it makes the folder
