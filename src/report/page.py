"""The report of a run as one HTML page that needs nothing else: no network, no font, no other file."""

import base64
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from src.report.page_data import page_data
from src.report.page_figures import page_figures
from src.report.page_input import GalleryItem, ReportInput
from src.report.page_tables import class_rows, failing, flat_rows, imbalance_rows, pair_rows, score, summary_rows
from src.report.page_words import calibration_rows, calibration_words, headline, imbalance_words, level, notes

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("data.js", "charts.js", "slider.js", "classes.js", "table.js")
GALLERY = 24
"""Failures of each kind shown at once; the others belong to their class."""


def render(report: ReportInput) -> str:
    """The page; the same text for the same input.

    Args:
        report: all that it shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    per_class = report.per_class
    return environment.get_template("report.html.j2").render(
        report=report,
        thresholds=report.thresholds,
        style=Markup((ASSETS / "report.css").read_text()),
        script=Markup("\n".join((ASSETS / name).read_text() for name in SCRIPTS)),
        data=Markup(page_data(report)),
        figures=page_figures(report, per_class),
        headline=headline(report, per_class),
        notes=notes(report),
        summary_rows=summary_rows(report),
        class_rows=class_rows(per_class),
        failing=failing(per_class),
        imbalance_rows=imbalance_rows(report.label_targets, report.class_names),
        imbalance_words=imbalance_words(report),
        pairs=pair_rows(report.label_targets, report.class_names),
        calibration_words=calibration_words(report),
        calibration_rows=calibration_rows(report),
        gallery=_by_kind(report.gallery),
        metrics=[(name, score(value)) for name, value in report.judgement.metrics.items()],
        level=level(report),
        config=flat_rows(report.config),
        env=flat_rows(report.env),
        result=flat_rows(report.summary),
    )


def _by_kind(gallery: Sequence[GalleryItem]) -> dict[str, tuple[Sequence[GalleryItem], Sequence[GalleryItem]]]:
    """Of each kind: those shown at once, and the rest."""
    kinds = {kind: [item for item in gallery if item.kind == kind] for kind in ("false_negative", "false_positive")}
    return {kind: (items[:GALLERY], items[GALLERY:]) for kind, items in kinds.items()}
