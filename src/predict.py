"""``python -m src.predict``: labels and scores of images without labels."""

from typing import TYPE_CHECKING, cast

from src.config.cli import entry
from src.config.schema.predict import PredictConfig
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Label images with a finished run, at the thresholds it was given.

  python -m src.predict run=latest input=PHOTOS output=labels.jsonl
  python -m src.predict run=DIR input=photo.jpg output=labels.csv thresholds=global
  python -m src.predict run=best.ckpt input=PHOTOS output=top3.csv thresholds=none top_k=3
  python -m src.predict run=latest input=PHOTOS output=labels.csv engine=openvino precision=int8
"""


def task(config: "DictConfig") -> None:
    """Predict once."""
    from src.config.check import to_dataclass

    wish = cast("PredictConfig", to_dataclass(config))
    from src.run.predict_checks import check_wish  # imports nothing heavy: a wrong path is answered at once

    check_wish(wish)
    with importing():
        from src.run.prediction import predict_files

    predict_files(wish)


def main() -> None:
    """Entry point of the command line."""
    entry(task, config_name="predict", usage=USAGE)


if __name__ == "__main__":
    main()
