"""``python -m src.export``: a finished run's network as one file that needs none of this project."""

from typing import TYPE_CHECKING, cast

from src.config.cli import entry
from src.config.schema.engine import ExportConfig
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Hand over the network of a finished run, with class names and thresholds inside.

  python -m src.export run=latest
  python -m src.export run=DIR format=onnx precision=int8
  python -m src.export run=DIR format=pt2 output=FILE.pt2
"""


def task(config: "DictConfig") -> None:
    """Export once."""
    from src.config.check import to_dataclass

    wish = cast("ExportConfig", to_dataclass(config))
    from src.runfolder import find_run  # numpy alone: a wrong path is answered before torch is loaded

    find_run(wish.run, output_dir=wish.output_dir)
    with importing():
        from src.run.exporting import export

    export(wish)


def main() -> None:
    """Entry point of the command line."""
    entry(task, config_name="export", usage=USAGE)


if __name__ == "__main__":
    main()
