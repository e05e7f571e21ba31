"""The page as text: well-formed, escaped, self-contained, of a bounded size."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from src.analysis.bootstrap import Interval
from src.analysis.judgement import judge
from src.analysis.thresholds import fit_thresholds
from src.report.page import render
from src.report.page_data import page_data
from src.report.page_input import ReportInput
from src.report.page_tables import NONE, class_rows, failing, flat_rows, pair_rows, score
from src.report.page_words import headline, notes
from tests.report.conftest import ABSENT, NAMES, make_report

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Checker(HTMLParser):
    """Collects text, attributes and everything that is not properly nested."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"script", "style"}:
            self.text.append(data)


@pytest.fixture(scope="module")
def page(report_input: ReportInput) -> str:
    return render(report_input)


@pytest.fixture(scope="module")
def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    return checker


def test_render__is_well_formed(parsed: Checker) -> None:
    assert parsed.problems == []
    assert parsed.open == []


def test_render__ids_are_unique_and_references_lead_to_them(parsed: Checker) -> None:
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) > 30
    assert sorted(ids) == sorted(set(ids))
    wanted = {value[1:] for _, name, value in parsed.attributes if name == "href" and value.startswith("#")}
    wanted |= {value for _, name, value in parsed.attributes if name in {"for", "aria-labelledby"}}
    for _, name, value in parsed.attributes:
        if name in {"style", "clip-path"}:
            wanted |= set(re.findall(r"url\(#([^)]+)\)", value))
    assert wanted <= set(ids)


def test_render__loads_nothing(page: str, parsed: Checker) -> None:
    loads = [value for _, name, value in parsed.attributes if name in {"src", "href", "action", "srcset", "poster"}]
    assert len(loads) > 20
    assert [value[:60] for value in loads if not value.startswith(("#", "data:"))] == []
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_render__names_are_text_not_markup(page: str, parsed: Checker) -> None:
    text = "".join(parsed.text)
    for name in NAMES:
        assert name in text, name
    assert "a <run>" in text
    assert "cannot be shown: <damaged>" in text
    assert page.count("</script>") == 2
    assert "<b>&" not in page


def test_render__is_the_same_twice(page: str, report_input: ReportInput) -> None:
    assert render(report_input) == page


def test_render__tables_have_captions_and_pictures_descriptions(page: str, parsed: Checker) -> None:
    assert page.count("<table") == page.count("<caption")
    pictures = [name for tag, name, _ in parsed.attributes if tag == "img" and name in {"src", "alt"}]
    assert pictures.count("src") == pictures.count("alt") > 0
    assert len(re.findall(r"<svg[^>]*>", page)) == len(re.findall(r'<svg[^>]* role="img"[^>]*aria-label="[^"]+', page))


def test_page_data__does_not_grow_with_the_images(report_input: ReportInput) -> None:
    twice = make_report(images=1600)
    assert abs(len(page_data(twice)) - len(page_data(report_input))) < 100
    content = json.loads(page_data(report_input))
    assert content["classes"] == list(NAMES)
    assert "<" not in page_data(report_input)


def test_page_data__is_wide_enough_for_many_images() -> None:
    scores = np.linspace(0, 1, 70_000, dtype=np.float32)[:, None]
    report = make_report(
        scores=scores,
        targets=np.ones((70_000, 1), np.uint8),
        class_names=("all",),
        thresholds=fit_thresholds(scores[:9], np.ones((9, 1)), class_names=("all",)),
    )
    assert json.loads(page_data(report))["bytes"] == 4


def test_render__without_records_train_or_failures() -> None:
    page = render(make_report(records=[], env={}, summary={}, config={}, train_targets=None, gallery=[]))
    assert "not recorded" in page
    assert "None at these thresholds" in page
    assert "Counts of val" in page


def test_render__one_class_and_two_images() -> None:
    scores, targets = np.array([[0.2], [0.9]], dtype=np.float32), np.array([[0], [1]], dtype=np.uint8)
    fitted = fit_thresholds(scores, targets, class_names=("only",))
    judgement = judge(
        scores, targets, class_names=("only",), global_threshold=fitted.global_,
        class_thresholds_C=fitted.per_class, resamples=10,
    )  # fmt: skip
    page = render(
        make_report(
            scores=scores, targets=targets, class_names=("only",), thresholds=fitted, judgement=judgement,
            train_targets=None, gallery=[], fitted_here=True,
        )
    )  # fmt: skip
    assert "Optimistic: the thresholds were fitted on the 2 images" in page


def test_notes__say_where_thresholds_come_from_and_what_is_missing(report_input: ReportInput) -> None:
    found = " ".join(notes(report_input))
    assert "fitted on 200 images of holdout and are scored here on 160 images of val" in found
    assert "micro-F1 is 0.750 on the fitting images" in found
    assert NAMES[ABSENT] in found
    assert "95 % bootstrap" in found
    assert "Optimistic" in " ".join(notes(make_report(fitted_here=True)))
    assert not any("nothing is learnt yet" in note for note in notes(report_input))
    given = report_input.judgement
    none = Interval(0.1, 0.0, 0.2)
    unlearnt = replace(given, intervals={**given.intervals, "map": none, "f1_micro_tuned": none})
    assert notes(make_report(judgement=unlearnt))[0].startswith("No better than naming the ")
    assert "status is interrupted" in " ".join(notes(make_report(summary={"status": "interrupted"})))


def test_headline__has_the_numbers_of_the_judgement(report_input: ReportInput) -> None:
    sentences = " ".join(headline(report_input, report_input.per_class))
    found = report_input.judgement.intervals["f1_micro_tuned"]
    assert f"{score(found.value)} [{score(found.low)}, {score(found.high)}]" in sentences
    assert f"{report_input.thresholds.global_:.3f}" in sentences


def test_class_rows__absent_class_has_dashes_and_sorts_last(report_input: ReportInput) -> None:
    row = class_rows(report_input.per_class)[ABSENT]
    assert row["f1"].text == row["ap"].text == row["precision"].text == NONE
    assert np.isnan(row["f1"].value)
    assert row["support"].text == "0"


def test_per_class__groups_are_known_even_if_the_judgement_has_none(report_input: ReportInput) -> None:
    bare = report_input.judgement.per_class.assign(group="")
    judgement = make_report().judgement
    judgement.per_class["group"] = bare["group"]
    table = make_report(judgement=judgement).per_class
    assert table["group"].tolist() == report_input.per_class["group"].tolist()
    assert table["train_count"].tolist() == report_input.train_targets.sum(axis=0).tolist()


def test_failing__leaves_out_classes_with_few_images() -> None:
    rows = {
        "class_name": ["rare", "bad", "good"], "support": [9, 10, 50], "f1": [0.0, 0.1, 0.9], "f1_low": np.nan,
        "f1_high": np.nan, "ap": [0.0, 0.4, 0.9], "recall": [0, 0.1, 0.9], "precision": [0, 0.1, 0.9],
        "tp": [0, 1, 45], "fp": [0, 9, 5],
    }  # fmt: skip
    found = failing(pd.DataFrame(rows))
    assert [row["class"] for row in found] == ["bad", "good"]
    assert found[0]["why"].startswith("finds 1 of 10; right in 1 of 10 times it is named. It ranks better")


def test_pair_rows__strongest_first_and_rare_classes_left_out() -> None:
    targets = np.zeros((40, 3), np.uint8)
    targets[:20, 0] = targets[:15, 1] = targets[:5, 2] = 1
    assert pair_rows(targets, "abc") == [
        ("b", "a", "1.00", "15"), ("a", "b", "0.75", "15"), ("b", "c", "0.33", "5"), ("a", "c", "0.25", "5"),
    ]  # fmt: skip


def test_flat_rows__dotted_keys() -> None:
    assert flat_rows({"a": {"b": 1, "c": None}, "d": [1, 2], "e": {}}) == [
        ("a.b", "1"), ("a.c", "null"), ("d", "[1, 2]"), ("e", "{}"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"), [(0.0625, "0.063"), (0.1234999, "0.123"), (1.0, "1.000"), (float("nan"), NONE), (None, NONE)]
)
def test_score__rounds_as_the_script_does(value: float | None, text: str) -> None:
    assert score(value) == text
