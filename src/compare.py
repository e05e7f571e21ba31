"""``python -m src.compare``: finished runs beside one another, with intervals for their differences."""

from typing import TYPE_CHECKING, cast

from src.config.cli import entry
from src.config.schema.compare import CompareConfig
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Compare finished runs on the same images: mean and sd over seeds, paired differences with intervals, curves.

  python -m src.compare runs=[RUN_A,RUN_B]
  python -m src.compare runs=latest_sweep
  python -m src.compare runs=[outputs/bce,outputs/focal] by=loss reference=bce
  python -m src.compare runs='outputs/focal/*' by=seed output=comparison
"""


def task(config: "DictConfig") -> None:
    """Compare once."""
    from src.config.check import to_dataclass

    with importing():
        from src.run.comparison import compare

    compare(cast("CompareConfig", to_dataclass(config)))


def main() -> None:
    """Entry point of the command line."""
    entry(task, config_name="compare", usage=USAGE)


if __name__ == "__main__":
    main()
