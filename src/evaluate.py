"""``python -m src.evaluate``: score a finished run on a split of any COCO folder."""

from typing import TYPE_CHECKING, cast

from src.config.cli import entry
from src.config.schema.root import EvaluateConfig
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Score a finished run: predictions, evaluation.json and a table.

  python -m src.evaluate run=latest
  python -m src.evaluate run=DIR split=holdout
  python -m src.evaluate run=DIR data.root=ANOTHER_COCO_FOLDER
  python -m src.evaluate run=DIR data.root=DIR data.annotations=labels.json data.images=photos
"""


def task(config: "DictConfig") -> None:
    """Evaluate once."""
    from src.config.check import to_dataclass

    wish = cast("EvaluateConfig", to_dataclass(config))
    from src.runfolder import find_run  # numpy alone: a wrong path is answered before torch is loaded

    find_run(wish.run, output_dir=wish.output_dir)
    with importing():
        from src.run.evaluation import evaluate

    evaluate(wish)


def main() -> None:
    """Entry point of the command line."""
    entry(task, config_name="evaluate", usage=USAGE)


if __name__ == "__main__":
    main()
