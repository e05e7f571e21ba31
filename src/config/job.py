"""The run Hydra is about to start: its values, its folder, its command line."""

from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.config.check import to_dataclass
from src.config.schema.errors import ConfigError
from src.config.schema.root import Job, TrainConfig
from src.config.schema.variants import from_plain

CHANGEABLE_GROUPS = ("trainer.", "callbacks.", "logger.", "data.", "thresholds.")


def current_job(config: DictConfig) -> Job:
    """The job Hydra is running now; a resumed one takes the values saved in its folder.

    Raises:
        ConfigError: DDP is asked for inside a multirun.
    """
    hydra = HydraConfig.get()
    folder, overrides = _short(Path(hydra.runtime.output_dir)), list(hydra.overrides.task)
    if in_sweep() and config.trainer.devices > 1:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices} with -m: the processes of one job would start the sweep again; "
            "run the jobs one by one, or one job per SLURM task or torchrun call"
        )
    typed = cast("TrainConfig", to_dataclass(config))
    if config.resume is None:
        return Job(typed, folder, overrides, resumed=False)
    # What the run resolved when it began (image size, epochs) wins over today's defaults.
    path = folder / "config.yaml"
    saved = OmegaConf.load(path)
    earlier = [str(text) for text in OmegaConf.load(folder / "overrides.yaml")]
    changes = [text for text in overrides if text.startswith(CHANGEABLE_GROUPS) and text not in earlier]
    merged = OmegaConf.to_container(OmegaConf.merge(saved, OmegaConf.from_dotlist(changes)))
    resumed = from_plain(cast("dict[str, object]", merged), where=str(path))
    return Job(resumed, folder, overrides, resumed=True)


def in_sweep() -> bool:
    """Whether the job Hydra is running now is one of a multirun."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _short(folder: Path) -> Path:
    """Relative to the working directory where it lies below it: what the user would type."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
