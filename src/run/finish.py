"""After the last epoch: score the best weights once, fit thresholds, write what the run hands over."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger
from rich.console import Group
from rich.markup import escape

from src.analysis.judgement import constant_notes, own_threshold_notes, threshold_note
from src.callbacks.checkpoint_io import AtomicCheckpointIO, load_checkpoint
from src.config.schema.root import TrainConfig
from src.data.datamodule import MultiLabelDataModule
from src.process import release_freed_memory
from src.report.tables import closing_table, console
from src.run.assembly import restore_model
from src.run.hardware import Hardware, peak_memory_mb
from src.run.judging import Verdict, fit, table_rows, verdict
from src.run.loggers import log_figures
from src.run.scoring import predict
from src.runfolder import Predictions, RunFolder, replacing


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training ended with."""

    objective: float
    best_epoch: int
    train_seconds: float
    train_images: int
    skipped: set[tuple[str, int]]
    """(split, row) of the broken images left out."""
    epochs: int
    """Epochs trained."""
    earlier_seconds: float
    """Spent by this run before it was resumed."""


def finish(
    config: TrainConfig,
    folder: RunFolder,
    data: MultiLabelDataModule,
    hardware: Hardware,
    outcome: Outcome,
    *,
    seconds: float,
    loggers: Sequence[Logger] = (),
) -> None:
    """Predict on the fitting split and on val, fit thresholds on the former only, write and print the result."""
    release_freed_memory()
    data.trainer = None  # under DDP this process now scores every image, not its share
    predictions, fitted_on = _predict(config, folder, data, hardware, outcome.skipped)
    _name_skipped(folder, data, outcome.skipped)
    thresholds = fit(predictions[fitted_on], config.thresholds, fitted_on=fitted_on, seed=config.seed)
    content = thresholds.to_json()
    folder.write_json("thresholds.json", content)
    AtomicCheckpointIO().save_checkpoint({**load_checkpoint(folder.best), "thresholds": content}, folder.best)
    verdicts = {
        split: verdict(found, thresholds, fitted_here=split == fitted_on, train_targets=data.train_targets)
        for split, found in predictions.items()
    }
    scores = {split: given.metrics for split, given in verdicts.items()}
    folder.write_json("summary.json", _summary(config, hardware, outcome, scores, fitted_on, seconds))
    folder.write_json("evaluation.json", evaluation_content(folder, verdicts["val"], split="val"))
    page = _report(folder, data, predictions["val"], verdicts["val"], loggers) if config.report else None
    _print(folder, data, verdicts["val"], outcome, page)


def _report(
    folder: RunFolder, data: MultiLabelDataModule, val: Predictions, given: Verdict, loggers: Sequence[Logger]
) -> Path:
    from src.run.reporting import write_report  # draws pictures: a run does not wait for that before its first step

    return write_report(
        folder,
        split="val",
        predictions=val,
        thresholds=given.thresholds,
        judgement=given.judgement,
        train_targets=data.train_targets,
        image_path=partial(data.path_of, "val"),
        show=partial(log_figures, loggers) if loggers else None,
    )


def evaluation_content(
    run: RunFolder, given: Verdict, *, split: str, checkpoint: str = "best", data: str = "the run's own"
) -> dict[str, Any]:
    """What evaluation.json holds: what was scored, and the verdict."""
    return {"run": str(run.path), "checkpoint": checkpoint, "data": data, "split": split, **given.to_json()}


def _predict(
    config: TrainConfig,
    folder: RunFolder,
    data: MultiLabelDataModule,
    hardware: Hardware,
    skipped: set[tuple[str, int]],
) -> tuple[dict[str, Predictions], str]:
    model = restore_model(config.model, load_checkpoint(folder.best)["state_dict"], data.num_classes)
    predictions = {}
    loaders = {split: data.eval_loader(split) for split in dict.fromkeys((data.monitor_split, "val"))}
    for loader in loaders.values():
        loader.start()  # both before this process holds activations again
    for split, loader in loaders.items():
        found, broken = predict(model, loader, device=hardware.device, class_names=data.class_names)
        predictions[split] = found
        skipped.update((split, row) for row in broken)
        folder.write_predictions(split, predictions[split])
    return predictions, data.monitor_split


def _name_skipped(folder: RunFolder, data: MultiLabelDataModule, skipped: set[tuple[str, int]]) -> None:
    if skipped:
        with replacing(folder.path / "skipped_images.txt", "w") as file:
            file.writelines(f"{data.path(split, row)}\n" for split, row in sorted(skipped))


def _summary(
    config: TrainConfig,
    hardware: Hardware,
    outcome: Outcome,
    scores: dict[str, dict[str, float]],
    fitted_on: str,
    seconds: float,
) -> dict[str, Any]:
    """Flat: what was reached, how fast, and that it finished."""
    metrics = {f"{split}/{name}": value for split, found in scores.items() for name, value in found.items()}
    return {
        "name": config.name,
        "status": "finished",
        "objective": outcome.objective,
        "objective_name": f"{fitted_on}/{config.objective}",
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.epochs,
        "seconds": round(outcome.earlier_seconds + seconds, 2),
        "train_seconds": round(outcome.train_seconds, 2),
        "images_per_second": round(outcome.train_images / max(outcome.train_seconds, 1e-9), 2),
        "peak_memory_mb": round(peak_memory_mb(hardware.device), 1),
        "skipped_images": len(outcome.skipped),
        "thresholds_fitted_on": fitted_on,
        **metrics,
    }


def _print(folder: RunFolder, data: MultiLabelDataModule, val: Verdict, outcome: Outcome, page: Path | None) -> None:
    speed = outcome.train_images / max(outcome.train_seconds, 1e-9)
    judged = val.judgement
    title = (
        f"{judged.num_images:,} val images, weights of epoch {outcome.best_epoch + 1}; "
        f"[{judged.level:.0%} interval over images]"
    )
    evaluate = f"python -m src.evaluate run={shlex.quote(str(folder.path))}"
    if data.source.is_sample:
        evaluate += " split=val"
    else:
        evaluate += " data.root=ANOTHER_COCO_FOLDER"
    lines = [
        f"{speed:.0f} training images per second, {outcome.train_seconds:.0f} s of training",
        *([f"broken images skipped: {len(outcome.skipped)}, named in skipped_images.txt"] if outcome.skipped else []),
        threshold_note(judged),
        *constant_notes(judged),
        *own_threshold_notes(judged),
        f"written to {folder.path}",
        *([f"open   {page}"] if page else []),
        f"next:  {evaluate}",
    ]
    table = closing_table(table_rows(val, split="val"), title=escape(title))
    console().print(Group(table, "\n".join(lines)))
