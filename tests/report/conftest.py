"""A report of awkward class names: markup, formulas, an absent class, broken pictures."""

import cv2
import numpy as np
import pytest

from src.analysis.errors import worst_errors
from src.analysis.imbalance import groups
from src.analysis.judgement import judge
from src.analysis.thresholds import Thresholds, fit_thresholds
from src.report.page_input import GalleryItem, ReportInput

NAMES = ("person", '<b>&"bold"</b>', "</script><i>", "$x_1$ cost", "cat", "dog's", "tie", "never seen", "Ünïcode 猫")
ABSENT = NAMES.index("never seen")


def scored(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and targets of the classes; the later, the rarer."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((images, len(NAMES))) < np.linspace(0.5, 0.06, len(NAMES))).astype(np.uint8)
    targets[:, ABSENT] = 0
    logits = 2.2 * targets - 1.6 + rng.standard_normal(targets.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), targets


def pictures(scores: np.ndarray, targets: np.ndarray, thresholds: Thresholds) -> list[GalleryItem]:
    """The worst mistakes; every fourth picture cannot be read."""
    jpeg = cv2.imencode(".jpg", np.full((30, 40, 3), 128, np.uint8))[1].tobytes()
    items = []
    for kind in ("false_negative", "false_positive"):
        found = worst_errors(scores, targets, thresholds.per_class, NAMES, kind=kind, limit=300)
        for position, row in enumerate(found.to_dict("records")):
            broken = position % 4 == 3
            items.append(
                GalleryItem(
                    kind=kind,
                    image_id=1000 + row["row"],
                    class_idx=row["class_idx"],
                    class_name=row["class_name"],
                    score=row["score"],
                    threshold=row["threshold"],
                    true_classes=[NAMES[c] for c in np.flatnonzero(targets[row["row"]])],
                    predicted_classes=[],
                    jpeg=None if broken else jpeg,
                    reason="cannot be shown: <damaged>" if broken else "",
                )
            )
    return items


def make_report(images: int = 160, **changes: object) -> ReportInput:
    """A complete input; ``changes`` replace parts of it."""
    scores, targets = scored(images, seed=1)
    fitted = fit_thresholds(*scored(200, seed=2), class_names=NAMES)
    train = scored(900, seed=3)[1]
    judgement = judge(
        scores,
        targets,
        class_names=NAMES,
        global_threshold=fitted.global_,
        class_thresholds_C=fitted.per_class,
        groups_C=groups(train.sum(axis=0, dtype=np.int64)),
        resamples=20,
    )
    records = [{"epoch": e, "lr": 0.1 / (e + 1), "train/loss": 1 / (e + 1), "holdout/map": e / 9} for e in range(3)]
    parts = {
        "name": "a <run>",
        "path": "outputs/a <run>",
        "split": "val",
        "config": {"name": "a <run>", "data": {"root": None, "classes": []}},
        "env": {"python": "3", "packages": {"numpy": "2"}},
        "summary": {"best_epoch": 1, "status": "finished", "holdout/f1_micro_tuned": 0.75},
        "records": records,
        "judgement": judgement,
        "thresholds": fitted,
        "scores": scores,
        "targets": targets,
        "class_names": NAMES,
        "train_targets": train,
        "gallery": pictures(scores, targets, fitted),
        "fitted_here": False,
    }
    return ReportInput(**{**parts, **changes})


@pytest.fixture(scope="session")
def report_input() -> ReportInput:
    """The report that most tests read."""
    return make_report()
