"""What a run that could not be trained leaves: nothing, or in a sweep a folder that says why."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from src.config.schema.errors import UserError
from src.runfolder import RunFolder, RunFolderError


@contextmanager
def leaving_nothing(folder: RunFolder) -> Iterator[None]:
    """Hydra has made the folder; a run that cannot start does not leave it behind empty."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        if folder.path.is_dir() and not any(folder.path.iterdir()):
            folder.path.rmdir()
            if not any(folder.path.parent.iterdir()):
                folder.path.parent.rmdir()
        raise


def note_failed(path: Path, *, name: str, overrides: Sequence[str], reason: str) -> None:
    """Write summary.json with status ``failed``, and the command line, unless the run itself has noted its failure.

    Args:
        path: the job's run folder; made where it is missing.
        name: the run's name.
        overrides: its command line.
        reason: one sentence.
    """
    folder = RunFolder(path)
    if run_status(folder) == "failed":
        return
    path.mkdir(parents=True, exist_ok=True)
    (path / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    folder.write_json("summary.json", {"name": name, "status": "failed", "error": reason})


def run_status(folder: RunFolder) -> str:
    """Status in summary.json; ``running`` where there is none, be it alive or killed."""
    try:
        return str(folder.read_json("summary.json")["status"])
    except RunFolderError:
        return "running"
