"""``python -m src.describe``: class imbalance, label health and image health of a data set."""

from typing import TYPE_CHECKING, cast

from src.config.cli import entry
from src.config.schema.root import DescribeConfig
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Describe a data set before training on it.

  python -m src.describe
  python -m src.describe data=coco2017 data.root=DIR split=val
  python -m src.describe data=coco2017 data.root=DIR images=-1 darkest=20 output=health.json
"""


def task(config: "DictConfig") -> None:
    """Describe once."""
    from src.config.check import to_dataclass

    with importing():
        from src.run.description import describe

    describe(cast("DescribeConfig", to_dataclass(config)))


def main() -> None:
    """Entry point of the command line."""
    entry(task, config_name="describe", usage=USAGE)


if __name__ == "__main__":
    main()
