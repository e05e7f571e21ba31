"""Every figure holds the data passed in, and becomes the same SVG and PNG each time."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from src.analysis.curves import overall_curves, pr_curve, threshold_counts
from src.analysis.imbalance import class_table
from src.analysis.labels import conditional, cooccurrence
from src.report.figures.calibration import reliability_diagram
from src.report.figures.curves import epoch_curves, pr_curves
from src.report.figures.imbalance import class_counts, cooccurrence_heatmap, frequency_scatter, labels_per_image
from src.report.figures.style import BLUE, new_figure, to_png, to_svg
from src.report.figures.thresholds import class_intervals, f1_curves, threshold_strip
from src.report.page_input import ReportInput
from tests.report.conftest import ABSENT, NAMES


def line(axes: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    return next(found for found in axes.lines if found.get_label() == label).get_data()


def texts(figure: Figure) -> str:
    return to_svg(figure, name="x", description="x")


def test_class_counts__bars_are_the_counts_in_order(report_input: ReportInput) -> None:
    table = class_table(report_input.train_targets, NAMES)
    axes = class_counts(table).axes[0]
    assert [bar.get_height() for bar in axes.patches] == sorted(table["count"], reverse=True)
    assert axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["head", "mid", "tail"]


def test_labels_per_image__is_the_histogram() -> None:
    targets = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=np.uint8)
    figure = labels_per_image(targets)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [1, 2, 1]
    assert "mean 1.00" in texts(figure)


def test_cooccurrence_heatmap__shows_shares_without_the_diagonal(report_input: ReportInput) -> None:
    share = conditional(cooccurrence(report_input.targets))
    shown = cooccurrence_heatmap(share, NAMES).axes[0].images[0].get_array()
    off = ~np.eye(len(NAMES), dtype=bool)
    assert_allclose(np.ma.filled(shown, np.nan)[off], share[off])
    assert np.isnan(np.ma.filled(shown, np.nan)[~off]).all()


def test_cooccurrence_heatmap__keeps_the_classes_that_others_come_with() -> None:
    targets = np.zeros((50, 6), np.uint8)
    targets[:, 2] = targets[:40, 4] = targets[:9, 5] = 1
    figure = cooccurrence_heatmap(conditional(cooccurrence(targets)), "abcdef", most=2)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["c", "e"]


def test_frequency_scatter__points_are_the_classes_with_support(report_input: ReportInput) -> None:
    table = report_input.per_class
    left, right = frequency_scatter(table).axes
    for axes, column in ((left, "ap"), (right, "f1")):
        found = np.vstack([part.get_offsets() for part in axes.collections if isinstance(part, PathCollection)])
        expected = table.drop(index=ABSENT)[["train_count", column]].to_numpy(float)
        assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)])


def test_f1_curves__lines_are_the_columns(report_input: ReportInput) -> None:
    curves = overall_curves(threshold_counts(report_input.scores, report_input.targets))
    axes = f1_curves(curves, global_threshold=0.25).axes[0]
    for label, column in (("micro-F1", "f1_micro"), ("macro-F1", "f1_macro"), ("recall (micro)", "recall_micro")):
        assert_allclose(line(axes, label), curves[["threshold", column]].to_numpy().T)
    assert any(found.get_xdata()[0] == 0.25 for found in axes.lines if len(found.get_xdata()) == 2)


def test_threshold_strip__has_a_point_for_each_class(report_input: ReportInput) -> None:
    axes = threshold_strip(report_input.per_class, global_threshold=0.4).axes[0]
    found = np.concatenate([np.asarray(part.get_offsets())[:, 0] for part in axes.collections])
    assert_allclose(np.sort(found), np.sort(report_input.thresholds.per_class))


def test_class_intervals__markers_and_whiskers(report_input: ReportInput) -> None:
    table = report_input.per_class.drop(index=ABSENT).sort_values("f1", kind="stable")
    axes = class_intervals(report_input.per_class).axes[0]
    whiskers = next(part for part in axes.collections if isinstance(part, LineCollection)).get_segments()
    assert_allclose([part[:, 1] for part in whiskers], table[["f1_low", "f1_high"]])
    marked = [np.transpose(line(axes, group)) for group in ("head", "mid", "tail")]
    points = np.vstack([part for part in marked if len(part)])
    assert_allclose(points[np.argsort(points[:, 0]), 1], table["f1"])
    assert_allclose(line(axes, "F1 at 0.5")[1], table["f1_at_half"])


def test_epoch_curves__epochs_count_from_one_and_gaps_are_left_out() -> None:
    records = [{"epoch": 0, "lr": 0.1, "train/loss": 2.0}, {"epoch": 1, "lr": 0.2, "train/loss": 1.0, "val/map": 0.5}]
    panels = epoch_curves(records, best_epoch=1).axes
    assert_allclose(line(panels[0], "train"), ([1, 2], [2.0, 1.0]))
    assert_allclose(line(panels[1], "val"), ([2], [0.5]))
    assert "not recorded" in [text.get_text() for text in panels[4].texts]


def test_epoch_curves__nothing_recorded_says_so() -> None:
    panels = epoch_curves([]).axes
    assert [axes.texts[0].get_text() for axes in panels] == ["not recorded"] * 6


def test_pr_curves__pooled_named_and_thin_lines(report_input: ReportInput) -> None:
    columns = zip(NAMES, report_input.scores.T, report_input.targets.T, strict=True)
    curves = {name: pr_curve(scores, targets) for name, scores, targets in columns}
    micro = pr_curve(report_input.scores.ravel(), report_input.targets.ravel())
    axes = pr_curves(micro, curves, named=["cat", NAMES[ABSENT]]).axes[0]
    assert_allclose(np.transpose(line(axes, "all decisions (micro)")), micro[["recall", "precision"]])
    assert_allclose(np.transpose(line(axes, "cat")), curves["cat"][["recall", "precision"]])
    assert len(axes.collections[0].get_segments()) == len(NAMES) - 1


def test_reliability_diagram__bins_with_decisions_only(report_input: ReportInput) -> None:
    table = pd.DataFrame(
        {"bin_low": [0, 0.5], "bin_high": [0.5, 1], "count": [10, 0], "mean_score": [0.2, np.nan],
         "frequency": [0.1, np.nan]}
    )  # fmt: skip
    above, below = reliability_diagram(table).axes
    assert_allclose(above.lines[-1].get_data(), ([0.2], [0.1]))
    assert [bar.get_height() for bar in below.patches] == [10]
    whole = reliability_diagram(report_input.judgement.reliability).axes[0].lines[-1]
    assert_allclose(whole.get_ydata(), report_input.judgement.reliability["frequency"].dropna())


def test_reliability_diagram__a_calibration_is_a_second_line(report_input: ReportInput) -> None:
    table = report_input.judgement.reliability
    above = reliability_diagram(table, calibrated=table.assign(frequency=0.5)).axes[0]
    assert_allclose(above.lines[-1].get_ydata(), 0.5)
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["as scored", "calibrated"]
    assert reliability_diagram(table).axes[0].get_legend() is None


def test_reliability_diagram__no_scores_says_so() -> None:
    table = pd.DataFrame({"bin_low": [0.0], "bin_high": [1.0], "count": [0], "mean_score": [0.0], "frequency": [0.0]})
    assert "no scores" in texts(reliability_diagram(table))


def named_figure() -> Figure:
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], "o-", color=BLUE, label='<b> & "x"')
    axes.set_title(r"costs \$5 or \$6")
    axes.legend()
    return figure


def test_to_svg__is_stable_themed_and_well_formed() -> None:
    svg = to_svg(named_figure(), name="one", description='a "b" <c>')
    assert svg == to_svg(named_figure(), name="one", description='a "b" <c>')
    assert ET.fromstring(svg).get("aria-label") == 'a "b" <c>'
    assert "costs $5 or $6" in svg
    assert BLUE not in svg
    assert "var(--blue)" in svg
    assert "var(--font)" in svg
    assert re.search(r"http|<style|<metadata", svg) is None


def test_to_svg__ids_of_two_figures_do_not_meet() -> None:
    ids = [set(re.findall(r'id="([^"]+)"', to_svg(named_figure(), name=name, description="x"))) for name in ("a", "b")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_to_png__is_stable() -> None:
    assert to_png(named_figure()) == to_png(named_figure())
    assert to_png(named_figure()).startswith(b"\x89PNG")


def test_figures__leave_no_global_state(report_input: ReportInput) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    to_svg(class_intervals(report_input.per_class), name="x", description="x")
    assert dict(mpl.rcParams) == before
