"""The run folder: the only hand-over between training and everything after it. File names, formats, atomic writes.

| file | content |
|---|---|
| config.yaml, overrides.yaml | the resolved configuration; the command line |
| env.json | versions, device, precision used, git commit, data fingerprint |
| metrics.jsonl, metrics.csv | one record per epoch, keys ``split/name`` |
| summary.json | flat: final metrics, timing, status |
| checkpoints/best.ckpt, last.ckpt | plain dicts, loadable with ``weights_only=True`` |
| predictions/<split>.npz | scores, targets, image_ids, class_names |
| thresholds.json | global and per-class thresholds and what they were fitted on |
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from src.config.schema.errors import UserError
from src.runhold import held_by

Record = dict[str, Any]


class RunFolderError(UserError):
    """A run folder that does not hold what is needed."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Scores of one split."""

    scores: NDArray[np.float32]
    """[N, C], probabilities in [0, 1]."""
    targets: NDArray[np.uint8]
    """[N, C], multi-hot."""
    image_ids: NDArray[np.int64]
    """[N]."""
    class_names: Sequence[str]
    """C names."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and formats of one run."""

    path: Path

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch by the objective."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint to resume from."""
        return self.path / "checkpoints" / "last.ckpt"

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write ``name`` as JSON, atomically."""
        with replacing(self.path / name, "w") as file:
            json.dump(content, file, indent=2, ensure_ascii=False)
            file.write("\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Read ``name``.

        Raises:
            RunFolderError: missing, or not JSON.
        """
        path = self.path / name
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except FileNotFoundError:
            raise RunFolderError(f"{path}: missing; {self._why_missing()}") from None
        except json.JSONDecodeError as error:
            raise RunFolderError(f"{path}: not JSON (line {error.lineno}: {error.msg})") from None
        return content

    def _why_missing(self) -> str:
        if holder := held_by(self.path):
            return f"{holder} is training this run, and writes it at the end"
        try:
            error = json.loads((self.path / "summary.json").read_text()).get("error")
        except (OSError, json.JSONDecodeError):
            error = None
        if error:
            return f"the run failed ({error}): python -m src.train resume={self.path} goes on once that is mended"
        return f"the run did not get that far: python -m src.train resume={self.path} goes on with it"

    def read_records(self) -> list[Record]:
        """All epochs logged so far."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def write_records(self, records: Sequence[Record]) -> None:
        """Replace metrics.jsonl and metrics.csv by ``records``."""
        with replacing(self.path / "metrics.jsonl", "w") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        columns = list(dict.fromkeys(key for record in records for key in record))
        with replacing(self.path / "metrics.csv", "w") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(records)

    def write_predictions(self, split: str, predictions: Predictions) -> Path:
        """Write ``predictions/<split>.npz``, atomically; returns its path."""
        path = self.path / "predictions" / f"{split}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, "wb") as file:
            np.savez(
                file,
                scores=predictions.scores.astype(np.float32),
                targets=predictions.targets.astype(np.uint8),
                image_ids=predictions.image_ids.astype(np.int64),
                class_names=np.array(list(predictions.class_names), dtype=np.str_),
            )
        return path

    def read_predictions(self, split: str) -> Predictions:
        """Read ``predictions/<split>.npz``.

        Raises:
            RunFolderError: not written yet.
        """
        path = self.path / "predictions" / f"{split}.npz"
        if not path.is_file():
            raise RunFolderError(f"{path}: missing; python -m src.evaluate run={self.path} split={split} writes it")
        with np.load(path, allow_pickle=False) as file:
            names = tuple(str(name) for name in file["class_names"])
            return Predictions(file["scores"], file["targets"], file["image_ids"], names)


def find_runs_by_age(folder: str | Path) -> list[Path]:
    """All run folders below a folder, the newest last."""
    found = sorted(Path(folder).glob("**/config.yaml"), key=lambda path: path.stat().st_mtime)
    return [path.parent for path in found]


def find_run(name: str, *, output_dir: str, trained: bool = True) -> Path:
    """A run folder by path, or the newest one for ``latest``.

    Args:
        name: a path, or ``latest``.
        output_dir: where ``latest`` looks.
        trained: the newest that has weights, if any has; False takes the newest.

    Raises:
        RunFolderError: there is none.
    """
    if name == "latest":
        runs = find_runs_by_age(output_dir)
        if not runs:
            raise RunFolderError(f"latest: no run under {output_dir}/ yet; python -m src.train makes one")
        with_weights = [run for run in runs if RunFolder(run).best.is_file()] if trained else []
        return (with_weights or runs)[-1]
    folder = Path(name)
    if not (folder / "config.yaml").is_file():
        if not folder.exists():
            raise RunFolderError(f"{folder}: no such folder; give a run from {output_dir}/, or latest")
        below = find_runs_by_age(folder)
        way_out = f"the newest below it is {below[-1]}" if below else f"give one from {output_dir}/, or latest"
        raise RunFolderError(f"{folder}: not a run folder (no config.yaml); {way_out}")
    return folder


@contextmanager
def replacing(path: Path, mode: str) -> Iterator[IO[Any]]:
    """A file to write that takes the place of ``path`` only when complete and on disk.

    The temporary file lies beside the target, so that the final step is one rename on one file system; whatever fails
    before it leaves the old file as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    newline = None if "b" in mode else ""
    try:
        with temporary.open(mode, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
