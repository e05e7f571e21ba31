"""``python -m src.sweep``: a search of the training configuration with Optuna."""

import sys
from typing import TYPE_CHECKING, cast

from src.config.cli import entry
from src.config.refuse import refuse
from src.config.schema.sweep import StudyConfig
from src.process import importing

if TYPE_CHECKING:
    from omegaconf import DictConfig

USAGE = """
Search the training configuration: a study of trials, each a run folder; the same command goes on with it.

  python -m src.sweep +experiment=focal
  python -m src.sweep +experiment=focal sweep=loss sweep.trials=40 sweep.workers=2 trainer.max_epochs=6
  python -m src.sweep +experiment=focal sweep.space.lr.high=0.01 sweep.pruner=asha sweep.name=NAME
  python -m src.sweep +experiment=focal sweep.trials=0
"""


def task(config: "DictConfig") -> None:
    """Begin a study or go on with it."""
    from hydra.core.hydra_config import HydraConfig

    from src.config.check import to_dataclass
    from src.config.space import space_problems, study_overrides, trial_config

    study = cast("StudyConfig", to_dataclass(config))
    base, search = study_overrides(list(HydraConfig.get().overrides.task))
    if study.sweep.trials and not study.sweep.parent:
        refuse(space_problems(study.sweep.space, base))
    with importing():
        from src.run.study import run_study

    run_study(study, base, compose=trial_config, command=[sys.executable, "-m", "src.sweep", *base, *search])


def main() -> None:
    """Entry point of the command line."""
    if {"-m", "--multirun"} & set(sys.argv):
        refuse(["-m: a study is a sweep of its own; leave it out"])
    entry(task, config_name="sweep", usage=USAGE)


if __name__ == "__main__":
    main()
