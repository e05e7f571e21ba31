"""Scores of a finished run on any split of any folder in COCO's layout."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Group
from torch import Tensor

from src.analysis.imbalance import constant_baselines
from src.analysis.thresholds import Thresholds
from src.callbacks.checkpoint_io import load_checkpoint
from src.config.schema.data import CocoConfig, DataConfig
from src.config.schema.errors import ConfigError
from src.config.schema.root import EvaluateConfig, TrainConfig
from src.config.schema.variants import from_plain
from src.data.folder import FolderSplit, open_folder
from src.process import keep_freed_memory
from src.report.tables import closing_table, console, metrics_table
from src.run.assembly import build_data, restore_model
from src.run.finish import report
from src.run.hardware import Hardware, choose
from src.run.scoring import predict
from src.runfolder import Predictions, RunFolder, find_run

Batches = Iterable[Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Input:
    """What is scored, and what it is called."""

    name: str
    batches: Batches
    absent_classes: tuple[str, ...] = ()
    """Classes of the model that the folder's labels do not have; left out of macro means."""


def evaluate(wish: EvaluateConfig) -> dict[str, Any]:
    """Score a run; writes evaluation.json and predictions, prints a table.

    The run's own data goes into the run folder (``evaluation.json`` for val, ``evaluation_<split>.json`` else); another
    folder's into ``evaluations/<folder>_<split>/`` below it, the last checkpoint's likewise, or all into ``output``.

    Raises:
        UserError: no such run, split or data.
    """
    keep_freed_memory()
    run = RunFolder(find_run(wish.run, output_dir=wish.output_dir))
    config = run_config(run)
    config.cache_dir = wish.cache_dir or config.cache_dir
    hardware = choose(device=wish.device, precision="fp32", num_threads=0, num_workers=wish.data.num_workers)
    checkpoint = load_checkpoint(run.best if wish.checkpoint == "best" else run.last)
    class_names = tuple(checkpoint["stamp"]["class_names"])
    model = restore_model(config.model, checkpoint["state_dict"], len(class_names))
    chosen = _other_folder(wish, config, hardware, class_names) if wish.data.root else _own(wish, config, hardware)
    predictions, skipped = predict(model, chosen.batches, device=hardware.device, class_names=class_names)
    thresholds = Thresholds.from_json(run.read_json("thresholds.json"), class_names=class_names)
    target = RunFolder(_output(wish, run, chosen))
    target.path.mkdir(parents=True, exist_ok=True)
    path = target.write_predictions(wish.split, predictions)
    content = _content(wish, run, chosen, predictions, thresholds) | {"skipped_images": len(skipped)}
    beside_val = target.path == run.path and wish.split != "val"
    name = f"evaluation_{wish.split}.json" if beside_val else "evaluation.json"
    target.write_json(name, content)
    _print(content, predictions, path, target.path / name)
    return content


def run_config(run: RunFolder) -> TrainConfig:
    """The configuration a run was made with."""
    path = run.path / "config.yaml"
    return from_plain(yaml.safe_load(path.read_text()), where=str(path))


def _own(wish: EvaluateConfig, config: TrainConfig, hardware: Hardware) -> Input:
    config.data = _with_loading(config.data, wish)
    config.debug.max_steps = 0
    data = build_data(config, hardware)
    if wish.split == "holdout" and data.monitor_split != "holdout":
        raise ConfigError("split=holdout: this run had none (data.holdout=0, or debug.overfit_images); split=val")
    return Input(wish.split, data.eval_loader(wish.split))


def _other_folder(wish: EvaluateConfig, config: TrainConfig, hardware: Hardware, class_names: tuple[str, ...]) -> Input:
    if wish.split == "holdout":
        raise ConfigError("split=holdout: that is a part of the run's own train; with data.root, split=val or train")
    root = Path(str(wish.data.root)).expanduser()
    layout = config.data if isinstance(config.data, CocoConfig) else CocoConfig()
    annotations, images = {
        "val": (layout.val_annotations, layout.val_images),
        "train": (layout.train_annotations, layout.train_images),
    }[wish.split]
    split: FolderSplit = open_folder(
        root / (wish.data.annotations or annotations),
        root / (wish.data.images or images),
        class_names=class_names,
        data=_with_loading(config.data, wish),
        cache_dir=Path(config.cache_dir),
        num_workers=hardware.num_workers,
        pin_memory=hardware.device == "cuda",
    )
    return Input(f"{root.resolve().name}_{wish.split}", split.loader, split.absent_classes)


def _with_loading(data: DataConfig, wish: EvaluateConfig) -> DataConfig:
    return replace(data, eval_batch_size=wish.data.batch_size, on_error=wish.data.on_error)


def _output(wish: EvaluateConfig, run: RunFolder, chosen: Input) -> Path:
    if wish.output:
        return Path(wish.output)
    if wish.checkpoint == "best" and not wish.data.root:
        return run.path
    return run.path / "evaluations" / (chosen.name + ("_last" if wish.checkpoint == "last" else ""))


def _content(
    wish: EvaluateConfig, run: RunFolder, chosen: Input, predictions: Predictions, thresholds: Thresholds
) -> dict[str, Any]:
    # Frequency groups belong to the run's training set; they are in its own summary.
    metrics = report(predictions, thresholds, None)
    return {
        "run": str(run.path),
        "checkpoint": wish.checkpoint,
        "data": wish.data.root or "the run's own",
        "split": wish.split,
        "num_images": len(predictions.scores),
        "absent_classes": list(chosen.absent_classes),
        "thresholds_fitted_on": thresholds.fitted_on,
        "thresholds_fitted_on_this_split": wish.data.root is None and thresholds.fitted_on == wish.split,
        "metrics": metrics,
        "constant_baselines": asdict(constant_baselines(predictions.targets)),
    }


def _print(content: Mapping[str, Any], predictions: Predictions, path: Path, json_path: Path) -> None:
    metrics, constant = content["metrics"], content["constant_baselines"]
    tuned = {"map": metrics["map"], "f1_micro": metrics["f1_micro_tuned"], "f1_macro": metrics["f1_macro_tuned"]}
    fitted = f"at thresholds of {content['thresholds_fitted_on']}"
    rows = {
        "at 0.5": metrics,
        fitted + (" (this very split: optimistic)" if content["thresholds_fitted_on_this_split"] else ""): tuned,
        f"always the {constant['best_k']} most frequent": {
            "map": constant["prior_map"], "f1_micro": constant["best_f1_micro"], "f1_macro": constant["best_f1_macro"],
        },
    }  # fmt: skip
    title = f"{len(predictions.scores):,} images of {content['split']}, data {content['data']}"
    absent = content["absent_classes"]
    notes = [f"not in these labels, left out of macro means: {', '.join(absent)}"] if absent else []
    notes += [f"{content['skipped_images']} broken images skipped"] if content["skipped_images"] else []
    everything = metrics_table(metrics, title="every metric")
    lines = "\n".join([*notes, f"written to {path}", f"           {json_path}"])
    console().print(Group(everything, closing_table(rows, title=title), lines))
