"""The one shape of all entry points: answer typos at once, then import Hydra and run the task under it."""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from src.config.refuse import refuse

Task = Callable[[Any], Any]
AfterSweep = Callable[[str, list[list[str]]], None]
"""Given the folder of a sweep, and the overrides of each of its jobs."""
_ONCE = {
    "experiment": "one at a time, or a sweep: +experiment=focal,bce -m",
    "data.shards": """the shell reads braces too; quote twice: 'data.shards="PATH-{000..146}.tar"'""",
}
"""Keys of which a second value is a mistake for certain, and what to do."""
_MULTIRUN = ("-m", "--multirun")
_SHOWS_CONFIG = {(flag, what) for flag in ("-c", "--cfg") for what in ("job", "hydra", "all")}


def entry(task: Task, *, config_name: str, usage: str, after_sweep: AfterSweep | None = None) -> None:
    """Run ``task`` as a Hydra command.

    The user's mistakes are answered in one line each on stderr with exit code 2, before ``task`` imports torch, and
    plain ones before anything imports Hydra.

    Args:
        task: gets the composed config; its return value goes to sweepers.
        config_name: primary config in conf/.
        usage: first lines of ``--help``.
        after_sweep: called with the sweep's folder and the overrides of its jobs when a multirun ends, however it ends.
    """
    require_packages()
    # argparse takes overrides in one piece only; -m may stand anywhere among them
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word in _MULTIRUN)
    refuse(_given_twice(sys.argv[1:]))
    found = _plain_problems(config_name, sys.argv[1:])
    refuse(found or [])
    from src.config.command import run_command

    run_command(task, config_name=config_name, usage=usage, after_sweep=after_sweep, checked=found is not None)


def require_packages() -> None:
    """End with a line where this Python is another than the one that this project was installed for."""
    if find_spec("hydra") is None:
        own = Path(__file__).parents[2] / ".venv/bin/python"
        refuse(
            [
                f"{sys.executable} lacks what this project needs; {own} has it once  make setup  has run "
                "(or first  source .venv/bin/activate)"
            ]
        )


def _given_twice(arguments: Sequence[str]) -> list[str]:
    """Two experiments, and a pattern of shards that the shell has expanded; of other keys the last value counts."""
    found = []
    for key, advice in _ONCE.items():
        given = [value for name, _, value in (word.partition("=") for word in arguments) if name.lstrip("+") == key]
        if len(set(given)) > 1:
            shown = ", ".join(given[:4]) + (", ..." if len(given) > 4 else "")
            found.append(f"{key}: given {len(given)} times ({shown}); {advice}")
    return found


def _plain_problems(config_name: str, arguments: Sequence[str]) -> list[str] | None:
    """What is wrong, or None where that takes Hydra."""
    words = list(arguments)
    if tuple(words[:2]) in _SHOWS_CONFIG:
        del words[:2]
    overrides = [word for word in words if word not in _MULTIRUN]
    if any(word.startswith("-") for word in overrides):
        return None
    from src.config.quick import quick_problems

    return quick_problems(config_name, overrides, multirun=len(overrides) < len(words))
