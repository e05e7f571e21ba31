"""Labels and scores of image files, by a run folder or by a checkpoint alone."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from src.analysis.calibration import Calibration
from src.analysis.decisions import Decisions, by_threshold, top_k, top_k_and_threshold
from src.analysis.thresholds import ThresholdError, Thresholds
from src.callbacks.checkpoint_io import CheckpointError, load_checkpoint
from src.config.schema.predict import PredictConfig
from src.config.schema.variants import build_variant
from src.data.augment.recipe import build_eval_transform
from src.data.errors import ImageError
from src.data.files import FileDataset, file_loader
from src.data.images.reading import read_image
from src.data.listing import Listing
from src.engines.build import BuiltEngine, torch_engine
from src.engines.folding import fold_batch_norms
from src.models.classifier import Classifier
from src.process import keep_freed_memory
from src.report.tables import console
from src.run.assembly import restore_model
from src.run.engines import Source, engine_device, run_engine
from src.run.evaluation import run_config
from src.run.hardware import Hardware, choose
from src.run.predict_checks import check_wish
from src.run.scoring import predict
from src.runfolder import RunFolder, replacing

MOST_FREQUENT = 10


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """What a checkpoint holds for use without its run: network, names, sizes, thresholds."""

    model: Classifier
    class_names: tuple[str, ...]
    image_size: int
    resize: str
    thresholds: Thresholds | None
    calibration: Calibration | None
    file: Path
    """The checkpoint."""
    source: Source | None
    """The run it belongs to; None of a checkpoint alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """N images: paths as written, scores and decisions of those that could be read, errors of the others by row."""

    names: Sequence[str]
    class_names: tuple[str, ...]
    scores_NC: NDArray[np.float32]
    decisions_NC: Decisions
    errors: Mapping[int, str]


def predict_files(wish: PredictConfig) -> Labelled:
    """Label images; writes ``output``, prints a table.

    Raises:
        UserError: no such run, image or calibration, or with ``data.on_error=raise`` a broken image.
    """
    output = Path(wish.output).expanduser()
    folder, listing = check_wish(wish)
    keep_freed_memory()
    given = _handover(wish, folder)
    device = engine_device(wish, wish.device)
    hardware = choose(device=device, precision="fp32", num_threads=0, num_workers=wish.data.num_workers)
    engine, engine_line = _engine(given, wish, hardware)
    _announce(given, wish, engine_line, len(listing.images))
    scores_NC, errors = _scores(given, engine, listing.images, wish, hardware)
    shown_NC = given.calibration.apply(scores_NC) if given.calibration else scores_NC
    found = Labelled(
        listing.names,
        given.class_names,
        shown_NC,
        decide(scores_NC, wish.thresholds, wish.top_k, given.thresholds),
        errors,
    )
    with replacing(output, "w") as file:
        (_write_csv if output.suffix.lower() == ".csv" else _write_jsonl)(file, found)
    _print(found, listing, output)
    return found


def decide(scores_NC: NDArray[np.float32], cut: Any, k: int, fitted: Thresholds | None) -> Decisions:
    """Which classes each image gets, bool [N, C].

    Args:
        scores_NC: as the thresholds were fitted to, not calibrated.
        cut: ``per_class``, ``global``, ``none`` or one number.
        k: at most, or with ``none`` exactly, this many per image; 0 for no limit.
        fitted: the run's thresholds.

    Raises:
        ThresholdError: fitted thresholds are asked for and there are none.
        DecisionError: k is more than there are classes.
    """
    if cut in ("none", None):
        return top_k(scores_NC, k)
    if cut in ("per_class", "global"):
        if fitted is None:
            raise ThresholdError(f"thresholds={cut}: the checkpoint has none; thresholds=0.5, or top_k with none")
        cut = fitted.at(cut)
    return top_k_and_threshold(scores_NC, k, cut) if k else by_threshold(scores_NC, cut)


def _handover(wish: PredictConfig, folder: RunFolder | None) -> Handover:
    file = Path(wish.run).expanduser()
    if folder is not None:
        file = folder.best if wish.checkpoint == "best" else folder.last
    checkpoint = load_checkpoint(file)
    stamp = checkpoint.get("stamp")
    if not stamp:
        raise CheckpointError(f"{file}: does not say which model it holds; it was not written by this project")
    names = tuple(stamp["class_names"])
    kept = folder.read_json("thresholds.json") if folder else checkpoint.get("thresholds")
    options = dict(stamp["model"])
    network = build_variant(options.pop("variant"), options)
    return Handover(
        restore_model(network, checkpoint["state_dict"], len(names)),
        names,
        stamp["image_size"],
        stamp["resize"],
        Thresholds.from_json(kept, class_names=names) if kept else None,
        Calibration.from_json(folder.read_json("calibration.json"), class_names=names)
        if folder and wish.calibrated
        else None,
        file,
        Source(run=folder, config=run_config(folder), checkpoint=file, stamp=stamp) if folder else None,
    )


def _engine(given: Handover, wish: PredictConfig, hardware: Hardware) -> tuple[BuiltEngine, str]:
    """What computes the network, and a line on it."""
    if given.source:
        return run_engine(given.model, wish, given.source, hardware)
    model = given.model.eval().to(hardware.device)
    network = fold_batch_norms(model) if wish.engine == "folded" else model
    run = torch_engine(network, hardware.device, precision=wish.precision)
    return BuiltEngine(wish.engine, wish.precision, run), f"engine {wish.engine}, {wish.precision} (asked for)"


def _scores(
    given: Handover, engine: BuiltEngine, paths: Sequence[Path], wish: PredictConfig, hardware: Hardware
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Scores float32 [N, C], zeros in the rows of broken images, and what is wrong with those."""
    names = given.class_names
    files = FileDataset(
        paths,
        num_classes=len(names),
        transform=build_eval_transform(given.resize, given.image_size),
        image_size=given.image_size,
        max_pixels=wish.data.max_pixels,
        on_error=wish.data.on_error,
    )
    batches = file_loader(
        files,
        batch_size=wish.data.batch_size,
        num_workers=hardware.num_workers,
        pin_memory=hardware.device == "cuda",
    )
    try:
        found, skipped = predict(engine, batches, device=hardware.device, class_names=names)
    except ImageError as error:
        raise ImageError(
            error.path, f"{error.reason}; data.on_error=skip goes on and notes it in the output"
        ) from error
    scores_NC = np.zeros((len(paths), len(names)), np.float32)
    scores_NC[found.image_ids] = found.scores
    return scores_NC, {row: _reason(paths[row], wish.data.max_pixels) for row in skipped}


def _reason(path: Path, max_pixels: int) -> str:
    """Why an image was skipped: the loader's processes only say that it was."""
    try:
        read_image(path, expected=None, max_pixels=max_pixels)
    except ImageError as error:
        return error.reason
    return "could not be read at first; it can now"


def _rows(found: Labelled) -> Iterator[tuple[str, list[str], list[float], str | None]]:
    """Path, labels with the highest score first, score of every class, error; no labels and scores with an error."""
    for row, name in enumerate(found.names):
        if row in found.errors:
            yield name, [], [], found.errors[row]
            continue
        scores_C = found.scores_NC[row]
        chosen = np.flatnonzero(found.decisions_NC[row])
        labels = [found.class_names[c] for c in chosen[np.argsort(-scores_C[chosen], kind="stable")]]
        yield name, labels, [float(str(score)) for score in scores_C], None  # the shortest text of a float32


def _write_jsonl(file: Any, found: Labelled) -> None:
    for name, labels, scores, error in _rows(found):
        content: dict[str, Any] = {"image": name}
        if error:
            content["error"] = error
        else:
            content |= {"labels": labels, "scores": dict(zip(found.class_names, scores, strict=True))}
        file.write(json.dumps(content, ensure_ascii=False) + "\n")


def _write_csv(file: Any, found: Labelled) -> None:
    table = csv.writer(file)
    table.writerow(["image", "labels", "error", *found.class_names])
    for name, labels, scores, error in _rows(found):
        columns: list[float] | list[str] = scores or [""] * len(found.class_names)
        table.writerow([name, ";".join(labels), error or "", *columns])


def _announce(given: Handover, wish: PredictConfig, engine_line: str, images: int) -> None:
    """What decides, before the wait: ``latest`` may be another run than was meant."""
    fitted = f", fitted on {given.thresholds.fitted_on}" if given.thresholds else ""
    cut = f"{wish.thresholds}{fitted if wish.thresholds in ('per_class', 'global') else ''}"
    most = f", top {wish.top_k}" if wish.top_k else ""
    screen = console()
    screen.print(f"{images:,} images by {given.file}", markup=False)
    screen.print(f"{engine_line}; thresholds {cut}{most}", markup=False)
    for note in _notes_of_the_run(given.source, wish.thresholds):
        screen.print(f"careful: on val this run was {note}", markup=False)


def _notes_of_the_run(source: Source | None, cut: Any) -> list[str]:
    """What was found when it was scored and makes labels worthless; nothing where that was never written."""
    if source is None or not (source.run.path / "evaluation.json").is_file():
        return []
    scored = source.run.read_json("evaluation.json")
    return [*scored.get("notes", []), *(scored.get("notes_on_own_thresholds", []) if cut == "per_class" else [])]


def _print(found: Labelled, listing: Listing, output: Path) -> None:
    whole = np.array([row not in found.errors for row in range(len(found.names))])
    counts_C = found.decisions_NC[whole].sum(axis=0)
    total = int(whole.sum())
    title = f"{total:,} images, {counts_C.sum() / total:.2f} labels per image"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("most frequent labels")
    table.add_column("images", justify="right")
    for class_idx in np.argsort(-counts_C, kind="stable")[:MOST_FREQUENT]:
        if counts_C[class_idx]:
            table.add_row(escape(found.class_names[class_idx]), f"{counts_C[class_idx]:,}")
    screen = console()
    screen.print(table)
    if found.errors:
        screen.print(f"broken images skipped: {len(found.errors)}; their errors stand in the output", markup=False)
    if listing.passed_over:
        endings = ", ".join(sorted({path.suffix or path.name for path in listing.passed_over}))
        screen.print(f"{len(listing.passed_over)} files with other endings not read: {endings}", markup=False)
    screen.print(f"written to {output}", markup=False)
