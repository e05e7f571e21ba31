"""What the numbers say, in sentences."""

from math import isinf

import pandas as pd

from src.analysis.calibration import brier, classwise_ece, ece
from src.analysis.judgement import constant_notes, own_threshold_notes
from src.analysis.labels import label_health
from src.report.page_input import ReportInput
from src.report.page_tables import score, with_interval

WEAK_F1 = 0.3
FEW_IMAGES = 500


def headline(report: ReportInput, per_class: pd.DataFrame) -> list[str]:
    """The answers to which threshold, what F1, which classes."""
    metrics, constant = report.judgement.metrics, report.judgement.baselines
    fitted = report.thresholds
    present = per_class[per_class["support"] > 0]
    never = present[present["tp"] == 0]
    weak = present[present["f1"] < WEAK_F1]
    micro, macro = with_interval(report, "f1_micro_tuned"), with_interval(report, "f1_macro_tuned")
    half, half_macro = score(metrics["f1_micro"]), score(metrics["f1_macro"])
    sentences = [
        f"With one threshold for all classes, {fitted.global_:.3f}, micro-F1 is {micro}; at 0.5 it is {half}. The best "
        f"answer that ignores the image gets {score(constant.best_f1_micro)}.",
        f"With a threshold for each class, macro-F1 is {macro}; at 0.5 it is {half_macro}. The thresholds run from "
        f"{fitted.per_class.min():.3f} to {fitted.per_class.max():.3f} and stand in the table of classes.",
    ]
    if len(weak):
        names = _list(never["class_name"].tolist())
        lost = (
            f", of which {len(never)} {'is' if len(never) == 1 else 'are'} never found: {names}" if len(never) else ""
        )
        sentences.append(f"{len(weak)} of {len(present)} classes have an F1 below {WEAK_F1}{lost}.")
    else:
        sentences.append(f"All {len(present)} classes have an F1 of {WEAK_F1} or more.")
    return sentences


def notes(report: ReportInput) -> list[str]:
    """What a reader must know before trusting the numbers."""
    fitted, images = report.thresholds, len(report.scores)
    judged = report.judgement
    found = [f"{note[0].upper()}{note[1:]}." for note in (*constant_notes(judged), *own_threshold_notes(judged))]
    if report.fitted_here:
        found.append(
            f"Optimistic: the thresholds were fitted on the {images:,} images that they are scored on here. "
            "Expect less on new images."
        )
    else:
        found.append(
            f"The thresholds were fitted on {fitted.num_images:,} images of {fitted.fitted_on} and are scored here on "
            f"{images:,} images of {report.split}, which had no part in fitting them.{_optimism(report)}"
        )
    if fitted.num_images < FEW_IMAGES:
        found.append(
            f"Only {fitted.num_images:,} images to fit thresholds on: those of rare classes rest on a handful of "
            f"positives. {_pull(fitted.shrink)}"
        )
    found.append(
        f"Intervals are {level(report)} bootstrap intervals over the images of this split. They do not cover the "
        "chance of another training run or another fitting set."
    )
    if images < FEW_IMAGES:
        found.append(f"Only {images:,} images were scored: differences between classes are mostly chance.")
    if report.env.get("builtin_sample"):
        found.append("The data is the built-in generated sample: the numbers say that the pipeline runs, nothing else.")
    if not fitted.global_reached:
        found.append("No global threshold met the objective's target: the one shown has the highest precision.")
    if fitted.unreached:
        found.append(f"No threshold met the objective for {_list(list(fitted.unreached))}.")
    if absent := [name for name, row in zip(report.class_names, report.targets.T, strict=True) if not row.any()]:
        found.append(f"Not in these labels, left out of means over classes: {_list(absent)}.")
    status = report.summary.get("status", "finished")
    if status != "finished":
        found.append(f"The run's status is {status}.")
    return found


def level(report: ReportInput) -> str:
    """Level of the intervals, ``95 %``."""
    return f"{100 * report.judgement.level:g} %"


def _pull(shrink: float | None) -> str:
    if shrink is None:
        return ""
    if not shrink:
        return "They are not drawn towards the global one."
    if isinf(shrink):
        return "So all classes take the global one."
    return f"One with {shrink:g} positives there lies half way to the global one."


def _optimism(report: ReportInput) -> str:
    key = f"{report.thresholds.fitted_on}/f1_micro_tuned"
    there, here = report.summary.get(key), report.judgement.metrics.get("f1_micro_tuned")
    if there is None or here is None:
        return ""
    return f" At the global threshold micro-F1 is {score(there)} on the fitting images and {score(here)} here."


def imbalance_words(report: ReportInput) -> list[str]:
    """Whose labels are shown, and what is odd about them."""
    source = report.split if report.train_targets is None else "the training images"
    health = label_health(report.label_targets, report.class_names)
    sentences = [f"Counts of {source}. Head, mid and tail are thirds of the classes ordered by their number of images."]
    return sentences + [f"{name}: {sentence}" for name, sentence in health.items()]


def calibration_rows(report: ReportInput) -> list[tuple[str, str, str | None]]:
    """Name of each calibration error, its value, and after calibration, None where there is none."""
    scores = [report.scores, *([report.calibration.apply(report.scores)] if report.calibration else [])]
    named = (
        ("expected calibration error (ECE)", ece),
        ("the same, mean over classes", lambda scores_NC, targets_NC: classwise_ece(scores_NC, targets_NC).mean()),
        ("Brier score", brier),
    )
    rows = []
    for name, error in named:
        values = [f"{error(scores_NC, report.targets):.4f}" for scores_NC in scores]
        rows.append((name, values[0], values[1] if report.calibration else None))
    return rows


def calibration_words(report: ReportInput) -> list[str]:
    """Whether scores are too high or too low, and what was or can be done about it."""
    predicted, true = float(report.scores.mean()), float(report.targets.mean())
    direction = "too high" if predicted > true else "too low"
    found = [
        f"Scores are {direction} on the whole: their mean is {predicted:.4f}, and {true:.4f} of the decisions are "
        "positive."
    ]
    if report.calibration is None:
        return [
            *found,
            f"python -m src.evaluate run={report.path} calibrate=platt corrects them and shows the effect here.",
        ]
    kind = {"temperature": "One temperature", "platt": "A slope and an offset for each class (Platt)"}
    given = report.calibration
    return [
        *found,
        f"{kind[given.kind]}, fitted on {given.num_images:,} images of {given.fitted_on}, gives the second column and "
        "the orange curve. The labels and thresholds on this page belong to the scores before it.",
    ]


def _list(names: list[str], most: int = 12) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
