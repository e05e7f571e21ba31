"""A command line that is no plain typo: what Hydra must look at, and running the task under Hydra."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from src.config.check import composed, job_overrides, problems
from src.config.help import help_text
from src.config.names import CONF_DIR
from src.config.refuse import refuse, refuse_for
from src.config.schema.errors import ConfigError, Interrupted, UserError
from src.config.store import register
from src.process import is_first_process

Task = Callable[[DictConfig], Any]


def run_command(
    task: Task,
    *,
    config_name: str,
    usage: str,
    after_sweep: Callable[[str, list[list[str]]], None] | None,
    checked: bool,
) -> None:
    """The rest of :func:`src.config.cli.entry`.

    Args:
        task: gets the composed config.
        config_name: primary config in conf/.
        usage: first lines of ``--help``.
        after_sweep: called with the sweep's folder and the overrides of its jobs.
        checked: the overrides have been found good already.
    """
    register()
    parser = get_args_parser()
    parser.allow_abbrev = False  # else --experiment is taken for Hydra's --experimental-rerun
    arguments, strange = parser.parse_known_args()
    refuse([f"{word}: a key is written without dashes: {_as_key(word)}; --help lists all" for word in strange])
    for option in ("config_name", "config_path"):
        if getattr(arguments, option):
            written = option.replace("_", "-")
            refuse([f"--{written}: this command has its own; +experiment=NAME adds a file of conf/experiment to it"])
    if arguments.cfg and arguments.multirun:
        refuse(["--cfg with -m: it shows the values of one job; leave out one of them"])
    overrides: list[str] = arguments.overrides
    if arguments.help:
        sys.stdout.write(_help(config_name, overrides, usage) + "\n")
        return
    if not (checked or arguments.hydra_help or arguments.shell_completion or arguments.info):
        refuse(problems(config_name, overrides, multirun=arguments.multirun))
    # Hydra shortens stack traces and exits by itself unless this is set; we tell mistakes from bugs ourselves.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    begun: list[str] = []
    sweeps: list[str] = []
    try:
        noted = _noting(task, begun, sweeps)
        with _making_the_folder(begun):
            hydra.main(config_path=str(CONF_DIR), config_name=config_name, version_base="1.3")(noted)()
    except UserError as error:
        refuse_for(error)
    except (HydraException, OmegaConfBaseException):
        # A file in conf/ that Hydra does not take although the quick check did.
        refuse(problems(config_name, overrides, multirun=arguments.multirun))
        raise
    except Interrupted as signal:
        # Lightning takes another process's code for its failure, and kills the first while it still writes.
        sys.exit(signal.exit_code if is_first_process() else 0)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    finally:
        if sweeps and after_sweep:
            after_sweep(sweeps[0], job_overrides(overrides))


@contextmanager
def _making_the_folder(begun: Sequence[str]) -> Iterator[None]:
    """Hydra makes the folder of a run before it calls the task; what goes wrong there is the user's to mend."""
    try:
        yield
    except OSError as error:
        if begun or error.filename is None:  # no file: a reader of --cfg that has gone
            raise
        problem = f"{error.filename}: {error.strerror}"
        raise ConfigError(f"output_dir: {problem}; the run's folder cannot be made there") from error


def _noting(task: Task, begun: list[str], sweeps: list[str]) -> Task:
    def noted(config: DictConfig) -> Any:
        begun.append(HydraConfig.get().runtime.output_dir)
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            sweeps.append(HydraConfig.get().sweep.dir)
            return task(config)
        try:
            return task(config)
        except UserError as error:
            # Here, before Hydra adds lines of its own; in a sweep it notes the failed job and goes on with the next.
            return refuse_for(error)

    return noted


def _as_key(word: str) -> str:
    key, equals, value = word.lstrip("-").partition("=")
    plus = "+" if key == "experiment" else ""  # the one group that is in no defaults list
    return f"{plus}{key.replace('-', '_')}={value if equals else 'VALUE'}"


def _help(config_name: str, overrides: Sequence[str], usage: str) -> str:
    config, lines = composed(config_name, overrides)
    refuse(lines)
    return help_text(config_name, config, usage=usage)
