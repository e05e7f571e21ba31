"""From a run folder and its scores to report/index.html."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src.analysis.calibration import Calibration
from src.analysis.errors import ErrorKind, worst_errors
from src.analysis.judgement import Judgement
from src.analysis.thresholds import Thresholds
from src.config.schema.data import DataConfig
from src.data.errors import ImageError
from src.data.images.thumbnails import read_thumbnail
from src.report.page import render
from src.report.page_figures import run_figures
from src.report.page_input import GalleryItem, ReportInput
from src.runfolder import Predictions, RunFolder, replacing

PER_CLASS = 3
"""Mistakes of each kind shown for a class."""
MOST = 300
"""Mistakes of each kind in the page, which keeps it to a few megabytes."""


def write_report(
    folder: RunFolder,
    *,
    split: str,
    predictions: Predictions,
    thresholds: Thresholds,
    judgement: Judgement,
    train_targets: NDArray[np.uint8] | None,
    image_path: Callable[[int], Path],
    run: RunFolder | None = None,
    fitted_here: bool | None = None,
    calibration: Calibration | None = None,
    name: str = "index.html",
    show: Callable[[Mapping[str, Figure]], None] | None = None,
) -> Path:
    """Write ``report/<name>``, atomically; an image that cannot be read is shown as a box with the reason.

    Args:
        folder: where to write.
        split: what was scored, as it is called on the page.
        predictions: its scores.
        thresholds: in the order of the predictions' classes.
        judgement: of these scores at these thresholds.
        train_targets: multi-hot targets of the training images; None where they are not at hand.
        image_path: file of an image id.
        run: whose configuration, environment, records and summary are shown; None is ``folder``.
        fitted_here: the thresholds were fitted on these very images; None compares the names of the splits.
        calibration: fitted elsewhere, whose effect on these scores is shown.
        name: of the page.
        show: also gets the page's pictures by name, for loggers.

    Returns:
        Path of the page.
    """
    run = folder if run is None else run
    config = _yaml(run.path / "config.yaml")
    page = ReportInput(
        name=str(config.get("name", run.path.name)),
        path=str(run.path),
        split=split,
        config=config,
        env=_json(run, "env.json"),
        summary=_json(run, "summary.json"),
        records=run.read_records(),
        judgement=judgement,
        thresholds=thresholds,
        scores=predictions.scores,
        targets=predictions.targets,
        class_names=predictions.class_names,
        train_targets=train_targets,
        gallery=gallery(predictions, thresholds, image_path, max_pixels=_max_pixels(config)),
        fitted_here=thresholds.fitted_on == split if fitted_here is None else fitted_here,
        calibration=calibration,
    )
    path = folder.path / "report" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, "wb") as file:
        file.write(render(page).encode("utf-8"))
    if show:
        show({name: figure for name, (figure, _) in run_figures(page, page.per_class).items()})
    return path


def gallery(
    predictions: Predictions, thresholds: Thresholds, image_path: Callable[[int], Path], *, max_pixels: int
) -> list[GalleryItem]:
    """The worst mistakes at the classes' thresholds with their pictures, worst first of each kind.

    Args:
        predictions: scores and image ids.
        thresholds: in the order of the predictions' classes.
        image_path: file of an image id.
        max_pixels: largest image that is decoded.
    """
    cuts_C = thresholds.per_class
    predicted_NC = predictions.scores >= cuts_C.astype(np.float32)
    names = np.array(list(predictions.class_names), dtype=object)
    pictures: dict[int, tuple[bytes | None, str]] = {}
    items = []
    for kind in get_args(ErrorKind):
        found = worst_errors(
            predictions.scores, predictions.targets, cuts_C, names.tolist(), kind=kind, limit=MOST, per_class=PER_CLASS
        )
        for row in found.to_dict("records"):
            n, image_id = int(row["row"]), int(predictions.image_ids[row["row"]])
            if image_id not in pictures:
                pictures[image_id] = _picture(image_path(image_id), max_pixels)
            jpeg, reason = pictures[image_id]
            items.append(
                GalleryItem(
                    kind=kind,
                    image_id=image_id,
                    class_idx=int(row["class_idx"]),
                    class_name=str(row["class_name"]),
                    score=float(row["score"]),
                    threshold=float(row["threshold"]),
                    true_classes=_chosen(names, predictions.targets[n]),
                    predicted_classes=_chosen(names, predicted_NC[n]),
                    jpeg=jpeg,
                    reason=reason,
                )
            )
    return items


def _picture(path: Path, max_pixels: int) -> tuple[bytes | None, str]:
    try:
        return read_thumbnail(path, max_pixels=max_pixels).jpeg, ""
    except ImageError as error:
        return None, f"cannot be shown: {error.reason}"


def _chosen(names: NDArray[Any], chosen_C: NDArray[Any]) -> Sequence[str]:
    return tuple(str(name) for name in names[chosen_C.astype(bool)])


def _max_pixels(config: Mapping[str, Any]) -> int:
    return int(config.get("data", {}).get("max_pixels", DataConfig().max_pixels))


def _yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text())) if path.is_file() else {}


def _json(run: RunFolder, name: str) -> dict[str, Any]:
    return run.read_json(name) if (run.path / name).is_file() else {}
