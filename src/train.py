"""``python -m src.train``: one training run, or a sweep with ``-m``."""

from pathlib import Path
from typing import TYPE_CHECKING

from src.config.cli import entry, require_packages
from src.config.resume import continue_command_line
from src.config.schema.errors import UserError
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Train a multi-label classifier on COCO, or on the built-in sample where COCO is not there.

  python -m src.train +experiment=focal
  python -m src.train +experiment=finetune data=coco2017 data.root=DIR model.weights=PATH
  python -m src.train +experiment=focal,bce seed=0,1 -m
  python -m src.train resume=latest
"""


def task(config: "DictConfig") -> float:
    """Train once; the objective on the holdout goes back to the sweep."""
    from src.config.job import current_job, in_sweep
    from src.run.failures import leaving_nothing, note_failed
    from src.run.train_checks import check_config
    from src.runfolder import RunFolder

    job = current_job(config)
    try:
        with leaving_nothing(RunFolder(job.folder)):
            check_config(job.config)  # imports nothing heavy: a wrong path is answered before torch is loaded
        with importing():
            from src.run.training import train

        return train(job)
    except UserError as error:
        if in_sweep():
            note_failed(job.folder, name=job.config.name, overrides=job.overrides, reason=str(error))
        raise


def sweep_table(folder: str, jobs: list[list[str]]) -> None:
    """Print, write and draw how the jobs of a sweep ended."""
    from src.report.sweeps import report_sweep

    report_sweep(Path(folder), jobs=jobs)


def main() -> None:
    """Entry point of the command line."""
    require_packages()
    continue_command_line()
    entry(task, config_name="config", usage=USAGE, after_sweep=sweep_table)


if __name__ == "__main__":
    main()
