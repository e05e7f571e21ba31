"""Studies for tests: the smoke configuration, a small space around it, and a folder."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from src.config.check import to_dataclass
from src.config.names import CONF_DIR
from src.config.schema.sweep import ParameterConfig, StudyConfig, SweepConfig
from src.config.store import register
from src.run.trials import Trials, study_identity

BASE = ("+experiment=smoke",)
SPACE = {
    "lr": ParameterConfig(key="optimizer.lr", low=1e-4, high=1e-1, log=True),
    "loss": ParameterConfig(key="loss", kind="choice", choices=["bce", "focal"]),
    "gamma": ParameterConfig(key="loss.gamma", kind="int", low=1, high=3, when={"loss": "focal"}),
}


@cache
def _composed() -> StudyConfig:
    register()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config: StudyConfig = to_dataclass(compose("sweep", ["+experiment=smoke"]))
    return config


def study_config(folder: Path, **sweep: Any) -> StudyConfig:
    """A study under ``folder``/studies/smoke."""
    return replace(_composed(), output_dir=str(folder), sweep=SweepConfig(**{"trials": 3, "space": SPACE, **sweep}))


def open_trials(folder: Path, base: tuple[str, ...] = BASE, **sweep: Any) -> Trials:
    """Its trials, as one process sees them."""
    config = study_config(folder, **sweep)
    return Trials(config, base, study_identity(config, base))
