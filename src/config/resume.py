"""``resume=RUN``: the command line of an earlier run, so that it goes on in its own folder."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.config.refuse import refuse
from src.config.schema.errors import ConfigError, UserError
from src.process import is_first_process

MAY_CHANGE = ("trainer.max_epochs", "trainer.num_threads", "trainer.val_curve", "callbacks.progress",
              "callbacks.checkpoint_steps", "data.num_workers", "data.eval_batch_size", "data.shard_cache_gb",
              "data.on_error", "thresholds.", "report=", "logger.", "cache_dir=")  # fmt: skip


def continue_command_line() -> None:
    """Replace ``resume=RUN`` in sys.argv by the overrides of that run plus what may change; exit 2 on a mistake."""
    try:
        sys.argv[1:] = continued(sys.argv[1:])
    except UserError as error:
        refuse([str(error)])


def continued(arguments: Sequence[str]) -> list[str]:
    """The full command line of a resumed run; ``arguments`` unchanged where nothing is resumed.

    Raises:
        UserError: not a run, already finished, or an override that would make it another run.
    """
    given = [text for text in arguments if text.startswith("resume=") and text != "resume=null"]
    handed_on = not is_first_process() and any(text.startswith("hydra.run.dir=") for text in arguments)
    if not given or handed_on:  # Lightning starts the other processes with what this has made of the first one's
        return list(arguments)
    from omegaconf import OmegaConf

    from src.runfolder import find_run  # needs numpy, which a typo need not wait for
    from src.runhold import holding  # locks as Unix has them

    output_dir = next((text.partition("=")[2] for text in arguments if text.startswith("output_dir=")), "outputs")
    name = given[-1].partition("=")[2]
    run = find_run(name, output_dir=output_dir, trained=False)
    if {"-m", "--multirun"} & set(arguments):
        raise ConfigError(f"resume={run}: one run at a time; leave out -m")
    changes = [text for text in arguments if text not in given and not text.startswith(("-", "output_dir="))]
    flags = [text for text in arguments if text.startswith("-")]
    _refuse_other_changes(run, changes)
    if is_first_process():
        with holding(run, on_wait=_tell):  # the run itself takes it again, after torch
            pass
    _refuse_finished(run, changes, output_dir)  # whoever held it may just have come to its end
    earlier = [str(text) for text in OmegaConf.load(run / "overrides.yaml")]
    changed = {text.partition("=")[0] for text in changes}
    kept = [text for text in earlier if text.partition("=")[0] not in changed]
    quoted = str(run).replace("'", r"\'")
    return [*flags, *kept, *changes, f"resume='{quoted}'", f"hydra.run.dir='{quoted}'"]


def _tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")


def _refuse_other_changes(run: Path, changes: Sequence[str]) -> None:
    from omegaconf import OmegaConf

    config, earlier = OmegaConf.load(run / "config.yaml"), list(OmegaConf.load(run / "overrides.yaml"))
    new = [text for text in changes if text not in earlier and not _is_as_it_was(config, text)]
    refused = [text for text in new if not text.lstrip("+").startswith(MAY_CHANGE)]
    if refused:
        allowed = ", ".join(f"{name}*" if name.endswith(".") else name.rstrip("=") for name in MAY_CHANGE)
        allowed = allowed.replace("max_epochs", "max_epochs (constant and plateau schedules)")
        raise ConfigError(f"resume={run}: {' '.join(refused)} would make it another run; may change: {allowed}")
    scheduled = "pct_start" in config.scheduler or "final_ratio" in config.scheduler
    if scheduled and any(text.startswith("trainer.max_epochs=") for text in changes):
        epochs = config.trainer.max_epochs
        raise ConfigError(f"trainer.max_epochs: this run's schedule ends after {epochs} epochs; start a longer run")


def _is_as_it_was(config: Any, override: str) -> bool:
    from omegaconf import OmegaConf

    key, _, value = override.partition("=")
    return str(OmegaConf.select(config, key.lstrip("+"))).lower() == value.strip("'\"").lower()


def _refuse_finished(run: Path, changes: Sequence[str], output_dir: str) -> None:
    from src.runfolder import find_runs_by_age

    extended = any(text.startswith("trainer.max_epochs=") for text in changes)
    if _status(run) != "finished" or extended:
        return
    others = [other for other in find_runs_by_age(output_dir) if _status(other) != "finished"]
    hint = f"; the newest that is not: resume={others[-1]}" if others else ""
    raise ConfigError(f"resume={run}: that run is finished; python -m src.evaluate run={run} scores it{hint}")


def _status(run: Path) -> str:
    summary = run / "summary.json"
    return str(json.loads(summary.read_text())["status"]) if summary.is_file() else "killed"
