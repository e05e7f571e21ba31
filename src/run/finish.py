"""After the last epoch: score the best weights once, fit thresholds, write what the run hands over."""

import shlex
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.console import Group

from src.analysis.imbalance import constant_baselines, groups
from src.analysis.thresholds import Thresholds, fit_thresholds
from src.callbacks.checkpoint_io import AtomicCheckpointIO, load_checkpoint
from src.config.schema.root import TrainConfig
from src.data.datamodule import MultiLabelDataModule
from src.metrics.functional import score_report
from src.process import release_freed_memory
from src.report.tables import closing_table, console
from src.run.assembly import at_thresholds, restore_model
from src.run.hardware import Hardware, peak_memory_mb
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
) -> None:
    """Predict on the fitting split and on val, fit thresholds on the former only, write and print the result."""
    release_freed_memory()
    data.trainer = None  # under DDP this process now scores every image, not its share
    predictions, fitted_on = _predict(config, folder, data, hardware, outcome.skipped)
    _name_skipped(folder, data, outcome.skipped)
    thresholds = fit_thresholds(
        predictions[fitted_on].scores,
        predictions[fitted_on].targets,
        class_names=data.class_names,
        fitted_on=fitted_on,
    )
    content = thresholds.to_json()
    folder.write_json("thresholds.json", content)
    AtomicCheckpointIO().save_checkpoint({**load_checkpoint(folder.best), "thresholds": content}, folder.best)
    groups_C = torch.from_numpy(groups(data.train_targets.sum(axis=0)))
    scores = {split: report(found, thresholds, groups_C) for split, found in predictions.items()}
    folder.write_json("summary.json", _summary(config, hardware, outcome, scores, fitted_on, seconds))
    _print(folder, data, predictions, scores, fitted_on, outcome)


def _predict(
    config: TrainConfig,
    folder: RunFolder,
    data: MultiLabelDataModule,
    hardware: Hardware,
    skipped: set[tuple[str, int]],
) -> tuple[dict[str, Predictions], str]:
    model = restore_model(config.model, load_checkpoint(folder.best)["state_dict"], data.num_classes)
    predictions = {}
    for split in dict.fromkeys((data.monitor_split, "val")):
        loader = data.eval_loader(split)
        found, broken = predict(model, loader, device=hardware.device, class_names=data.class_names)
        predictions[split] = found
        skipped.update((split, row) for row in broken)
        folder.write_predictions(split, predictions[split])
    return predictions, data.monitor_split


def _name_skipped(folder: RunFolder, data: MultiLabelDataModule, skipped: set[tuple[str, int]]) -> None:
    if skipped:
        with replacing(folder.path / "skipped_images.txt", "w") as file:
            file.writelines(f"{data.path(split, row)}\n" for split, row in sorted(skipped))


def report(predictions: Predictions, thresholds: Thresholds, groups_C: torch.Tensor | None) -> dict[str, float]:
    """Scores at 0.5 and, as ``…_tuned``, at the given thresholds."""
    scores_NC, targets_NC = torch.from_numpy(predictions.scores), torch.from_numpy(predictions.targets)
    return score_report(scores_NC, targets_NC, groups_C=groups_C) | at_thresholds(predictions, thresholds)


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


def _print(
    folder: RunFolder,
    data: MultiLabelDataModule,
    predictions: dict[str, Predictions],
    scores: dict[str, dict[str, float]],
    fitted_on: str,
    outcome: Outcome,
) -> None:
    constant = asdict(constant_baselines(predictions["val"].targets))
    val = scores["val"]
    tuned = {"map": val["map"], "f1_micro": val["f1_micro_tuned"], "f1_macro": val["f1_macro_tuned"]}
    rows = {
        "val at 0.5": val,
        f"val at thresholds of {fitted_on}": tuned,
        f"always the {constant['best_k']} most frequent": {
            "map": constant["prior_map"], "f1_micro": constant["best_f1_micro"], "f1_macro": constant["best_f1_macro"],
        },
    }  # fmt: skip
    speed = outcome.train_images / max(outcome.train_seconds, 1e-9)
    title = f"{len(predictions['val'].scores):,} val images, weights of epoch {outcome.best_epoch + 1}"
    evaluate = f"python -m src.evaluate run={shlex.quote(str(folder.path))}"
    if data.source.is_sample:
        evaluate += " split=val"
    else:
        evaluate += " data.root=ANOTHER_COCO_FOLDER"
    lines = [
        f"{speed:.0f} training images per second, {outcome.train_seconds:.0f} s of training",
        *([f"{len(outcome.skipped)} broken images skipped, named in skipped_images.txt"] if outcome.skipped else []),
        f"written to {folder.path}",
        f"next:  {evaluate}",
    ]
    console().print(Group(closing_table(rows, title=title), "\n".join(lines)))
