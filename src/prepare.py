"""``python -m src.prepare``: verify, index and cache a data set before training on it."""

from typing import TYPE_CHECKING, cast

from src.config.cli import entry
from src.config.schema.root import PrepareConfig
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Check a data set, index its labels and prepare its training images.

  python -m src.prepare
  python -m src.prepare data=coco2017 data.root=DIR data.cache=raw
  python -m src.prepare data=coco2017 data.root=DIR data.cache=jpeg data.cache_side=256 data.on_error=skip
  python -m src.prepare data=coco2017 data.root=DIR data.cache=raw augment=strong verify=true
"""


def task(config: "DictConfig") -> None:
    """Prepare once."""
    from src.config.check import to_dataclass

    with importing():
        from src.run.preparation import prepare

    prepare(cast("PrepareConfig", to_dataclass(config)))


def main() -> None:
    """Entry point of the command line."""
    entry(task, config_name="prepare", usage=USAGE)


if __name__ == "__main__":
    main()
