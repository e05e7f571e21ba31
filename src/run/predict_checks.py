"""What can be told of a wish for predictions before torch is loaded."""

from pathlib import Path

from src.config.schema.errors import ConfigError
from src.config.schema.predict import PredictConfig
from src.data.listing import Listing, list_images
from src.runfolder import RunFolder, find_run


def check_wish(wish: PredictConfig) -> tuple[RunFolder | None, Listing]:
    """The run, None for a checkpoint alone, and the images.

    Raises:
        UserError: no such run, image or output folder, or something that the run does not have.
    """
    folder = (
        None if Path(wish.run).expanduser().is_file() else RunFolder(find_run(wish.run, output_dir=wish.output_dir))
    )
    listing = list_images(Path(wish.input).expanduser())
    output = Path(wish.output).expanduser()
    if not output.parent.is_dir():
        raise ConfigError(f"output={output}: no folder {output.parent}")
    if folder is None and wish.engine not in ("torch", "folded"):
        raise ConfigError(f"engine={wish.engine}: keeps its graph in the run folder; run=FOLDER, or engine=folded")
    if wish.calibrated and (folder is None or not (folder.path / "calibration.json").is_file()):
        run = folder.path if folder else "RUN"
        raise ConfigError(f"calibrated=true: no calibration.json; python -m src.evaluate run={run} calibrate=platt")
    return folder, listing
