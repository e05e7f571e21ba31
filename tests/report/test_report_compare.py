"""A comparison's pictures, its page and its words."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from src.analysis.compare import (
    METRICS,
    Comparison,
    ScoredRun,
    class_changes,
    curve_table,
    difference_table,
    group_table,
    run_table,
)
from src.report.compare import difference_text, mean_sd, verdict
from src.report.compare_page import comparison_page, in_colour
from src.report.figures.compare import LOOKS, NAMES, class_differences, difference_intervals, overlaid_curves
from src.report.figures.style import to_svg

VOID = {"meta", "link", "input", "br", "img", "wbr"}


@cache
def comparison(groups: int = 3, seeds: int = 2, classes: int = 30) -> Comparison:
    """Random scores around 0.5, each group 0.05 above the one before."""
    rng = np.random.default_rng(0)
    runs = []
    for g in range(groups):
        for seed in range(seeds):
            level = 0.5 + 0.05 * g + rng.normal(0, 0.002)
            headline = {metric: level + rng.normal(0, 0.005, 101) for metric in METRICS}
            per_class = [np.clip(level + rng.normal(0, 0.1, (101, classes)), 0, 1) for _ in range(2)]
            runs.append(ScoredRun(f"outputs/g{g}/{seed}", f"loss=<g{g}>", seed, headline, *per_class))
    table = run_table(runs)
    names = [f"class {c} & $x$" for c in range(classes)]
    curves = {
        run.name: [{"epoch": e, "holdout/map": e / 9 + 0.01 * run.seed, "train/loss": 1.0} for e in range(5)]
        for run in runs
    }
    labels = {run.name: run.group for run in runs}
    positives_C = np.arange(classes) * 3
    return Comparison(
        split="val",
        num_images=1234,
        reference="loss=<g0>",
        level=0.95,
        runs=table,
        groups=group_table(table),
        differences=difference_table(runs, reference="loss=<g0>"),
        classes=class_changes(runs, reference="loss=<g0>", class_names=names, positives_C=positives_C),
        curves=curve_table(curves, labels),
        options=pd.DataFrame({"key": ["loss.gamma"], **{f"loss=<g{g}>": [str(g)] for g in range(groups)}}),
        notes=("Take care of <this>.",),
    )


page_of = cache(comparison_page)


class Balanced(HTMLParser):
    """Tags that open and close as they should; every address and id."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in VOID else [tag]
        self.addresses += [value or "" for key, value in attrs if key in ("href", "src", "xlink:href")]
        self.ids += [value or "" for key, value in attrs if key == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open = self.open[:-1] if tag not in VOID else self.open

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


@pytest.mark.parametrize("groups", [1, 3])
def test_comparison_page__is_well_formed_and_needs_nothing_else(groups: int) -> None:
    page = page_of(comparison(groups))
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert [link for link in parser.addresses if not link.startswith(("#", "data:"))] == []
    assert sorted(parser.ids) == sorted(set(parser.ids))
    assert {link[1:] for link in parser.addresses if link.startswith("#")} <= set(parser.ids)
    assert "url(http" not in page
    assert "@import" not in page
    assert "<script" not in page


def test_comparison_page__same_input_same_text_and_names_are_escaped() -> None:
    found = comparison()
    page = page_of(found)
    assert page == comparison_page(found)
    assert "<g1>" not in page
    assert "&lt;g1&gt;" in page
    assert "Take care of &lt;this&gt;." in page


def test_comparison_page__shows_every_mean_and_difference() -> None:
    found = comparison()
    page = page_of(found)
    for metric in NAMES:
        for row in found.groups.to_dict(orient="records"):
            assert f"{row[metric]:.4f}" in page
            assert f"± {row[f'{metric}_sd']:.4f}" in page
    for row in found.differences[found.differences["metric"] != "of1"].to_dict(orient="records"):
        assert f"[{row['low']:+.3f}, {row['high']:+.3f}]" in page


def test_comparison_page__pictures_are_xml() -> None:
    pictures = re.findall(r"<svg class=\"figure\".*?</svg>", page_of(comparison()), flags=re.DOTALL)
    assert len(pictures) == 4  # differences, two groups' classes, curves
    for picture in pictures:
        assert ET.fromstring(picture).get("aria-label")


def test_in_colour__reference_first_then_the_best() -> None:
    found = comparison(groups=9)
    assert in_colour(found) == ["loss=<g0>", *(f"loss=<g{g}>" for g in (8, 7, 6, 5, 4))]


def test_verdict__says_clear_differences_and_the_open_ones() -> None:
    found = comparison(groups=2)
    table = found.differences.assign(clear=lambda rows: rows["metric"] == "map", difference=-0.0123)
    told = verdict(replace(found, differences=table))
    assert told == ["loss=<g1>: mAP lower by 0.0123; not told apart: tuned micro-F1, tuned macro-F1, tuned F1 of tail"]
    assert verdict(comparison(groups=1)) == []


def test_texts__numbers() -> None:
    assert mean_sd({"map": 0.61234, "map_sd": 0.0041}, "map") == "0.6123 ± 0.0041"
    assert mean_sd({"map": 0.61234, "map_sd": float("nan")}, "map") == "0.6123"
    row = {"difference": 0.0123, "low": 0.004, "high": 0.0207, "clear": True}
    assert difference_text(row) == "+0.0123 [+0.0040, +0.0207] *"
    assert difference_text(row | {"low": float("nan")}) == "-"


def texts(figure: Figure) -> str:
    return to_svg(figure, name="x", description="x")


def test_overlaid_curves__a_line_per_run_and_a_mean_per_group() -> None:
    found = comparison(groups=2)
    figure = overlaid_curves(found.curves, named=["loss=<g0>", "loss=<g1>"])
    axes = figure.axes[0]
    means = [line for line in axes.lines if line.get_linewidth() == 2]
    assert len(axes.lines) == 4 + 2
    curve = found.curves[(found.curves["metric"] == "holdout/map") & (found.curves["group"] == "loss=<g1>")]
    assert np.asarray(means[1].get_ydata()) == pytest.approx(curve.groupby("epoch")["value"].mean().to_numpy())
    assert list(means[1].get_xdata()) == [1, 2, 3, 4, 5]
    assert "not recorded" in texts(figure)  # micro-F1 is not in the records
    grey = overlaid_curves(found.curves, named=["loss=<g0>"]).axes[0]
    assert len(grey.lines) == 2 + 1 + 2


def test_difference_intervals__points_at_the_differences_hollow_where_unclear() -> None:
    found = comparison(groups=2)
    rows = found.differences.assign(clear=lambda rows: rows["metric"] == "cf1").set_index("metric").loc[list(NAMES)]
    figure = difference_intervals(rows.reset_index(), named=["loss=<g0>", "loss=<g1>"], level=0.95)
    points = [
        line for line in figure.axes[0].lines if line.get_marker() == LOOKS[1]["marker"] and len(line.get_xdata())
    ]
    assert [line.get_xdata()[0] for line in points] == pytest.approx(list(rows["difference"]))
    filled = [line.get_markerfacecolor() == LOOKS[1]["color"] for line in points]
    assert filled == [name == "cf1" for name in NAMES]


def test_class_differences__gains_left_losses_right_largest_first() -> None:
    found = comparison(groups=2)
    rows = found.classes[found.classes["metric"] == "ap"]
    figure = class_differences(found.classes, group="loss=<g1>", metric="ap", most=4)
    for axes, sign in zip(figure.axes, (1, -1), strict=True):
        shown = [line.get_xdata()[0] for line in axes.lines[1:]]
        assert shown == sorted((x for x in rows["difference"] if x * sign > 0), key=abs, reverse=True)[:4]
    none = class_differences(found.classes.assign(difference=0.0), group="loss=<g1>")
    assert "no class gained" in texts(none)


def test_difference_intervals__one_group_says_so() -> None:
    found = comparison(groups=1)
    assert "nothing to compare it with" in texts(difference_intervals(found.differences, named=["x"], level=0.95))
