"""Which runs a list of names means: run folders, folders that hold runs, patterns."""

import glob
import json
import re
from collections.abc import Sequence
from pathlib import Path

from src.runfolder import RunFolderError, find_run


def find_runs(names: Sequence[str], *, output_dir: str) -> tuple[list[Path], list[Path]]:
    """Run folders in the order named, those below one name in the order of their numbers, each once.

    Args:
        names: run folders, folders with runs anywhere below, patterns with ``*``, ``?`` or ``[``, ``latest`` (run) or
            ``latest_sweep``.
        output_dir: where the latest is looked for.

    Returns:
        The runs, and those left out because they are not finished: a run named by its own folder is taken as it is,
        one found below a folder or by a pattern only when it is finished.

    Raises:
        RunFolderError: a name that leads to no run.
    """
    chosen: dict[Path, Path] = {}
    unfinished: dict[Path, Path] = {}
    for name in names:
        explicit, found = _expand(name, output_dir)
        for path in found:
            into = chosen if explicit or _finished(path) else unfinished
            into.setdefault(path.resolve(), path)
    return list(chosen.values()), [path for key, path in unfinished.items() if key not in chosen]


def _expand(name: str, output_dir: str) -> tuple[bool, list[Path]]:
    if name == "latest":
        return True, [find_run(name, output_dir=output_dir)]
    if name == "latest_sweep":
        name = str(_latest_sweep(Path(output_dir)))
    pattern = any(character in name for character in "*?[")
    folders = [Path(name)]
    if pattern and not folders[0].exists():
        folders = [Path(found) for found in glob.glob(name)]  # noqa: PTH207  Path.glob takes no absolute pattern
    if len(folders) == 1 and not pattern and (folders[0] / "config.yaml").is_file():
        return True, folders
    runs = {path.parent for folder in folders for path in folder.glob("**/config.yaml")}
    if not runs:
        raise RunFolderError(
            f"runs={name}: no run folder (none with a config.yaml) there; python -m src.train makes one"
        )
    return False, sorted(runs, key=_by_number)


def _latest_sweep(output_dir: Path) -> Path:
    sweeps = {path.parents[1] for path in output_dir.glob("sweeps/*/*/config.yaml")}
    if not sweeps:
        raise RunFolderError(f"latest_sweep: none under {output_dir}/sweeps; python -m src.train seed=0,1 -m makes one")
    return max(sweeps, key=lambda path: path.stat().st_mtime)


def _finished(run: Path) -> bool:
    path = run / "summary.json"
    return path.is_file() and json.loads(path.read_text()).get("status") == "finished"


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Job 10 after job 9."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", str(path))]
