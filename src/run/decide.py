"""Thresholds that were decided after training, written where everything looks for them."""

from pathlib import Path

from src.analysis.thresholds import Thresholds
from src.callbacks.checkpoint_io import AtomicCheckpointIO, load_checkpoint
from src.runfolder import RunFolder, find_run

PREVIOUS = "thresholds.previous.json"


def write_thresholds(run: str | Path | RunFolder, thresholds: Thresholds, *, output_dir: str = "outputs") -> Path:
    """Make these the run's thresholds: in ``thresholds.json`` and in ``checkpoints/best.ckpt``.

    Evaluation, prediction and export use them from then on; ``evaluation.json`` and the report show the earlier ones
    until ``python -m src.evaluate run=RUN`` has run again. The file they replace stays as ``thresholds.previous.json``.

    Args:
        run: run folder, or ``latest``.
        thresholds: for the run's classes, in any order.
        output_dir: where ``latest`` looks.

    Returns:
        Path of thresholds.json.

    Raises:
        ThresholdError: they are for other classes than the run's, or lie outside [0, 1]; nothing is changed.
        RunFolderError: no such run.
        CheckpointError: the run has no checkpoint yet, or it cannot be written.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder(find_run(str(run), output_dir=output_dir))
    checkpoint = load_checkpoint(folder.best)
    content = Thresholds.from_json(thresholds.to_json(), class_names=checkpoint["stamp"]["class_names"]).to_json()
    path = folder.path / "thresholds.json"
    if path.is_file() and folder.read_json("thresholds.json") == checkpoint.get("thresholds") == content:
        return path  # the run has them: no file is touched
    if path.is_file() and (before := folder.read_json("thresholds.json")) != content:
        folder.write_json(PREVIOUS, before)
    folder.write_json("thresholds.json", content)
    AtomicCheckpointIO().save_checkpoint({**checkpoint, "thresholds": content}, folder.best)
    return path
