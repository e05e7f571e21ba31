"""The pictures of a run: for the page as SVG elements, for loggers as figures."""

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from src.analysis.calibration import reliability
from src.analysis.curves import overall_curves, pr_curve, threshold_counts
from src.analysis.imbalance import class_table
from src.analysis.labels import conditional, cooccurrence
from src.report.figures.calibration import reliability_diagram
from src.report.figures.curves import epoch_curves, pr_curves
from src.report.figures.imbalance import class_counts, cooccurrence_heatmap, frequency_scatter, labels_per_image
from src.report.figures.style import to_svg
from src.report.figures.thresholds import class_intervals, f1_curves, threshold_strip
from src.report.page_input import ReportInput

ENOUGH = 10
"""Images with a class below which its curve is too coarse to be called best or worst."""
CURVE_POINTS = 60


def page_figures(report: ReportInput, per_class: pd.DataFrame) -> dict[str, Markup]:
    """Name to SVG; the arguments are those of ``run_figures``."""
    return {
        name: Markup(to_svg(figure, name=name, description=description))
        for name, (figure, description) in run_figures(report, per_class).items()
    }


def run_figures(report: ReportInput, per_class: pd.DataFrame) -> dict[str, tuple[Figure, str]]:
    """Name to picture and what it shows, in a sentence.

    Args:
        report: what the page shows.
        per_class: its ``per_class``, computed once.
    """
    labels = report.label_targets
    global_threshold = report.thresholds.global_
    counted = per_class if report.train_targets is not None else per_class.assign(train_count=per_class["support"])
    curves = overall_curves(threshold_counts(report.scores, report.targets))
    best_epoch = report.summary.get("best_epoch")
    return {
        "f1-curves": (
            f1_curves(curves, global_threshold=global_threshold),
            "Micro and macro F1 over the threshold; the same numbers are beside the slider.",
        ),
        "pr-curves": (_pr_curves(report, per_class), "Precision against recall, all decisions pooled and each class."),
        "threshold-strip": (
            threshold_strip(per_class, global_threshold=global_threshold),
            "Fitted threshold of each class by frequency group; the numbers are in the table of classes.",
        ),
        "class-intervals": (
            class_intervals(per_class),
            "F1 of each class with its interval, weakest first; the numbers are in the table of classes.",
        ),
        "epoch-curves": (
            epoch_curves(report.records, best_epoch=best_epoch),
            "Loss, mAP, learning rate and F1 over the epochs; the numbers are in metrics.csv of the run.",
        ),
        "class-counts": (
            class_counts(class_table(labels, report.class_names)),
            "Images per class on a logarithmic axis; the numbers are in the table of classes.",
        ),
        "labels-per-image": (labels_per_image(labels), "Histogram of the number of classes an image has."),
        "cooccurrence": (
            cooccurrence_heatmap(conditional(cooccurrence(labels)), report.class_names),
            "Share of the images with one class that also have another; the strongest pairs are listed beside it.",
        ),
        "frequency-scatter": (
            frequency_scatter(counted),
            "Average precision and F1 of each class against its number of images, see the table of classes.",
        ),
        "reliability": (
            reliability_diagram(report.judgement.reliability, calibrated=_calibrated(report)),
            "Share of true labels against the score; a calibrated model lies on the diagonal.",
        ),
    }


def _calibrated(report: ReportInput) -> pd.DataFrame | None:
    given = report.calibration
    return reliability(given.apply(report.scores), report.targets) if given else None


def _pr_curves(report: ReportInput, per_class: pd.DataFrame) -> Figure:
    """The weakest, the middle and the strongest class by AP are named."""
    named = per_class[per_class["support"] >= ENOUGH].sort_values("ap", kind="stable")["class_name"].tolist()
    chosen = list(dict.fromkeys([named[-1], named[len(named) // 2], named[0]])) if named else []
    columns = {
        name: pr_curve(report.scores[:, c], report.targets[:, c], points=CURVE_POINTS)
        for c, name in enumerate(report.class_names)
    }
    return pr_curves(pr_curve(report.scores.ravel(), report.targets.ravel()), columns, named=chosen)
