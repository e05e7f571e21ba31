"""Scores of a finished run on any split of any folder in COCO's layout."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Group
from rich.markup import escape
from torch import Tensor

from src.analysis.calibration import Calibration
from src.analysis.judgement import constant_notes, own_threshold_notes, threshold_note
from src.analysis.thresholds import MODES, Thresholds
from src.callbacks.checkpoint_io import load_checkpoint
from src.config.schema.data import CocoConfig, DataConfig
from src.config.schema.errors import ConfigError
from src.config.schema.root import EvaluateConfig, TrainConfig
from src.config.schema.variants import from_plain
from src.data.folder import FolderSplit, open_folder
from src.engines.build import torch_engine
from src.engines.parity import Watched
from src.models.classifier import Classifier
from src.process import keep_freed_memory
from src.report.tables import closing_table, console, metrics_table
from src.run.assembly import build_data, restore_model
from src.run.engines import Source, engine_device, run_engine
from src.run.finish import evaluation_content
from src.run.hardware import Hardware, choose
from src.run.judging import Verdict, calibrated, fit, table_rows, verdict
from src.run.scoring import predict
from src.runfolder import Predictions, RunFolder, find_run

Batches = Iterable[Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Input:
    """What is scored, and what it is called."""

    name: str
    batches: Batches
    image_path: Callable[[int], Path]
    """File of an image id."""
    train_targets: NDArray[np.uint8] | None = None
    """Of the run's training images, where they are at hand."""
    absent_classes: tuple[str, ...] = ()
    """Classes of the model that the folder's labels do not have; left out of macro means."""


def evaluate(wish: EvaluateConfig) -> dict[str, Any]:
    """Score a run; writes evaluation.json, predictions and the report, prints a table.

    The run's own data goes into the run folder (``evaluation.json`` for val, ``evaluation_<split>.json`` else); another
    folder's into ``evaluations/<folder>_<split>/`` below it, the last checkpoint's and other engines' likewise, or all
    into ``output``.

    Raises:
        UserError: no such run, split or data.
    """
    keep_freed_memory()
    run = RunFolder(find_run(wish.run, output_dir=wish.output_dir))
    config = run_config(run)
    config.cache_dir = wish.cache_dir or config.cache_dir
    device = engine_device(wish, wish.device)
    hardware = choose(device=device, precision="fp32", num_threads=0, num_workers=wish.data.num_workers)
    model, source = _trained(wish, run, config)
    class_names = tuple(source.stamp["class_names"])
    fitting = _fitting(wish, run)
    chosen = _other_folder(wish, config, hardware, class_names) if wish.data.root else _own(wish, config, hardware)
    engine, engine_line = run_engine(model, wish, source, hardware)
    watched = Watched(engine, torch_engine(model, hardware.device, precision="fp32"))
    predictions, skipped = predict(watched, chosen.batches, device=hardware.device, class_names=class_names)
    target = RunFolder(_output(wish, run, chosen))
    target.path.mkdir(parents=True, exist_ok=True)
    target.write_predictions(wish.split, predictions)
    thresholds = _thresholds(wish, run, config, predictions, fitting)
    if wish.fit:
        target.write_json("thresholds.json", thresholds.to_json())
    given = verdict(
        predictions,
        thresholds,
        fitted_here=_fitted_here(wish, thresholds),
        train_targets=chosen.train_targets,
        resamples=wish.resamples,
    )
    content = evaluation_content(
        run, given, split=wish.split, checkpoint=wish.checkpoint, data=wish.data.root or "the run's own"
    )
    content |= {"absent_classes": list(chosen.absent_classes), "skipped_images": len(skipped)}
    content |= {"thresholds": thresholds.to_json()}
    calibration, errors = _calibrate(wish, run, target, predictions)
    cuts = {mode: thresholds.at(mode) for mode in MODES}
    content |= {"calibration": errors}
    content |= {"engine": {"line": engine_line, "name": engine.name, "precision": engine.precision}}
    content["engine"] |= {"parity": watched.parity(thresholds=cuts).to_json() if engine.differs else None}
    written = _write(wish, run, target, chosen, predictions, given, content, calibration)
    _print(content, given, written)
    return content


def _trained(wish: EvaluateConfig, run: RunFolder, config: TrainConfig) -> tuple[Classifier, Source]:
    """The network of the checkpoint asked for, and where it comes from."""
    path = run.best if wish.checkpoint == "best" else run.last
    checkpoint = load_checkpoint(path)
    source = Source(run=run, config=config, checkpoint=path, stamp=checkpoint["stamp"])
    return restore_model(config.model, checkpoint["state_dict"], len(source.stamp["class_names"])), source


def _fitting(wish: EvaluateConfig, run: RunFolder) -> Predictions | None:
    """Stored scores to fit thresholds on, looked for before anything is scored; None where none are needed."""
    scored_anyway = wish.fit == wish.split and wish.data.root is None
    if wish.fit is None:
        run.read_json("thresholds.json")
        return None
    return None if scored_anyway else run.read_predictions(wish.fit)


def _thresholds(
    wish: EvaluateConfig, run: RunFolder, config: TrainConfig, predictions: Predictions, fitting: Predictions | None
) -> Thresholds:
    """The run's own thresholds, or with ``fit`` new ones, from stored scores or from those just made."""
    if wish.fit is None:
        return Thresholds.from_json(run.read_json("thresholds.json"), class_names=predictions.class_names)
    found = predictions if fitting is None else fitting
    return fit(found, wish.thresholds, fitted_on=wish.fit, seed=config.seed)


def _fitted_here(wish: EvaluateConfig, thresholds: Thresholds) -> bool:
    return wish.data.root is None and thresholds.fitted_on == wish.split


def _calibrate(
    wish: EvaluateConfig, run: RunFolder, target: RunFolder, predictions: Predictions
) -> tuple[Calibration | None, dict[str, Any] | None]:
    if wish.calibrate == "none":
        return None, None
    if wish.split == "holdout" and wish.data.root is None:
        raise ConfigError("split=holdout: the calibration is fitted there and would be judged on itself; split=val")
    calibration, errors = calibrated(wish.calibrate, run.read_predictions("holdout"), predictions)
    target.write_json("calibration.json", calibration.to_json())
    return calibration, errors


def _write(
    wish: EvaluateConfig,
    run: RunFolder,
    target: RunFolder,
    chosen: Input,
    predictions: Predictions,
    given: Verdict,
    content: Mapping[str, Any],
    calibration: Calibration | None,
) -> list[Path]:
    """The JSON and the report; paths of all that was written."""
    beside_val = target.path == run.path and wish.split != "val"
    name = f"evaluation_{wish.split}.json" if beside_val else "evaluation.json"
    target.write_json(name, content)
    paths = [target.path / "predictions" / f"{wish.split}.npz", target.path / name]
    paths += [target.path / "thresholds.json"] if wish.fit else []
    paths += [target.path / "calibration.json"] if wish.calibrate != "none" else []
    if wish.report:
        from src.run.reporting import write_report  # draws pictures: imported only where asked for

        page = write_report(
            target,
            split=chosen.name,
            predictions=predictions,
            thresholds=given.thresholds,
            judgement=given.judgement,
            train_targets=chosen.train_targets,
            image_path=chosen.image_path,
            run=run,
            fitted_here=given.fitted_here,
            calibration=calibration,
            name=f"index_{wish.split}.html" if beside_val else "index.html",
        )
        paths.append(page)
    return paths


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
    return Input(
        wish.split, data.eval_loader(wish.split), partial(data.path_of, wish.split), train_targets=data.train_targets
    )


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
    return Input(
        f"{root.resolve().name}_{wish.split}",
        split.loader,
        split.split.path_of,
        absent_classes=split.absent_classes,
    )


def _with_loading(data: DataConfig, wish: EvaluateConfig) -> DataConfig:
    return replace(data, eval_batch_size=wish.data.batch_size, on_error=wish.data.on_error or data.on_error)


def _output(wish: EvaluateConfig, run: RunFolder, chosen: Input) -> Path:
    """The run folder holds what belongs to its own data and thresholds; everything else stands below it."""
    if wish.output:
        return Path(wish.output)
    plain = wish.engine == "torch" and wish.precision == "fp32"
    if wish.checkpoint == "best" and not wish.data.root and not wish.fit and plain:
        return run.path
    parts = [chosen.name, *(["last"] if wish.checkpoint == "last" else []), *([f"fit_{wish.fit}"] if wish.fit else [])]
    parts += [] if plain else [f"{wish.engine}-{wish.precision}"]
    return run.path / "evaluations" / "_".join(parts)


def _threshold_notes(given: Verdict) -> list[str]:
    """What the thresholds do here, and what none could do where they were fitted."""
    fitted = given.thresholds
    notes = [threshold_note(given.judgement), f"thresholds fitted for {fitted.objective}"]
    if not fitted.global_reached:
        notes.append(
            f"no global threshold met the target on {fitted.fitted_on}: the one taken has the highest precision"
        )
    if fitted.unreached:
        notes.append(f"classes in which none did: {', '.join(fitted.unreached)}")
    return notes


def _engine_notes(engine: Mapping[str, Any]) -> list[str]:
    parity = engine["parity"]
    if parity is None:
        return []
    flipped = ", ".join(f"{count} at the {name} thresholds" for name, count in parity["flipped"].items())
    return [
        f"{engine['line']}; beside torch in fp32, {parity['images']} images: logits differ by "
        f"{parity['logit_mean']:.2g} (mean), {parity['logit_max']:.2g} (largest) of {parity['logit_scale']:.1f}, "
        f"probabilities by {parity['probability_mean']:.2g}, {parity['probability_max']:.2g}",
        f"decisions that come out otherwise, of {parity['decisions']}: {flipped.replace('_', ' ')}",
    ]


def _print(content: Mapping[str, Any], given: Verdict, written: Sequence[Path]) -> None:
    title = (
        f"{content['num_images']:,} images of {content['split']}, data {content['data']}; "
        f"[{content['level']:.0%} interval over images]"
    )
    absent, calibration = content["absent_classes"], content["calibration"]
    notes = [f"not in these labels, left out of macro means: {', '.join(absent)}"] if absent else []
    notes += [f"broken images skipped: {content['skipped_images']}"] if content["skipped_images"] else []
    notes += constant_notes(given.judgement) + own_threshold_notes(given.judgement) + _threshold_notes(given)
    notes += _engine_notes(content["engine"])
    if calibration:
        before, after = calibration["before"], calibration["after"]
        notes.append(
            f"calibration ({calibration['kind']}, fitted on {calibration['fitted_on_images']} images of holdout): "
            f"ECE {before['ece']:.4f} -> {after['ece']:.4f}, Brier {before['brier']:.4f} -> {after['brier']:.4f}"
        )
    everything = metrics_table(content["metrics"], title="every metric")
    lines = "\n".join([*notes, "written to", *(f"  {path}" for path in written)])
    table = closing_table(table_rows(given, split=content["split"]), title=escape(title))
    console().print(Group(everything, table, lines))
