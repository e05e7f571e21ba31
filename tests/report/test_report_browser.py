"""The page in a real browser without a network: Debian's chromium and its driver, by selenium.

Skipped where one of them is missing: ``apt-get install chromium chromium-driver`` and ``pip install selenium``.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.analysis.decision_metrics import decision_metrics
from src.metrics.functional import score_report
from src.report.page import render
from src.report.page_input import ReportInput
from src.report.page_tables import score
from tests.report.conftest import ABSENT, NAMES

OVERALL = {
    "precision_micro": "op", "recall_micro": "or", "f1_micro": "f1_micro",
    "precision_macro": "cp", "recall_macro": "cr", "f1_macro": "f1_macro",
}  # fmt: skip
"""The page's names and those of ``decision_metrics``."""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless chromium with a profile of its own."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    from selenium.webdriver.chrome.service import Service

    browser, service = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or service is None:
        pytest.skip("no chromium or chromedriver on this machine: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(service=Service(service), options=options)
    yield running
    running.quit()


@pytest.fixture(scope="module")
def address(report_input: ReportInput, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render(report_input), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(driver: Any, address: str) -> Any:
    """The browser, the page freshly loaded."""
    driver.get(address)
    return driver


def one(page: Any, selector: str) -> Any:
    return page.find_element("css selector", selector)


def every(page: Any, selector: str) -> list[Any]:
    return page.find_elements("css selector", selector)


def set_slider(page: Any, name: str, k: int) -> None:
    script = "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
    page.execute_script(script + "s.dispatchEvent(new Event('input'))", name, str(k))


def numbers(page: Any, table: str) -> dict[str, float]:
    """What the script computed, in full precision."""
    script = "return [...document.querySelectorAll(arguments[0])].map(c => [c.dataset.number, c.dataset.value])"
    return {name: float(value) for name, value in page.execute_script(script, f"#{table} [data-number]")}


def column(page: Any, key: str, *, attribute: str = "value") -> list[str]:
    """Cells of the rows that are shown, from top to bottom."""
    script = """
      const table = document.getElementById("class-table");
      const at = [...table.tHead.rows[0].cells].findIndex(cell => cell.dataset.key === arguments[0]);
      return [...table.tBodies[0].rows].filter(row => row.offsetParent !== null)
        .map(row => arguments[1] === "text" ? row.cells[at].textContent.trim() : row.cells[at].dataset.value)"""
    return list(page.execute_script(script, key, attribute))


def test_page__runs_without_errors_and_asks_for_nothing(page: Any, address: str) -> None:
    page.get_log("performance")  # what the browser's own start page asked for
    page.get(address)
    page.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    assert page.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert address in asked
    assert {url for url in asked if not url.startswith("data:")} == {address}


def test_slider__numbers_equal_pythons(page: Any, report_input: ReportInput) -> None:
    scores, targets = report_input.scores, report_input.targets
    for k in (0, 1, 250, 333, 500, 871, 1000):
        set_slider(page, "threshold", k)
        found = numbers(page, "overall-numbers")
        here = decision_metrics(scores >= np.float32(k / 1000), targets)
        trained = score_report(torch.from_numpy(scores), torch.from_numpy(targets), threshold=k / 1000)
        assert set(found) == set(OVERALL)
        for name, same in OVERALL.items():
            assert found[name] == pytest.approx(here[same], abs=1e-12), (k, name)
            assert found[name] == pytest.approx(trained[name], abs=1e-12), (k, name)
        assert one(page, "#threshold-value").text == f"{k / 1000:.3f}"
        assert one(page, "#overall-numbers [data-number=f1_micro]").text == score(here["f1_micro"])


@pytest.mark.parametrize(("go", "suffix"), [("half", ""), ("global", "_global"), ("classes", "_per_class")])
def test_slider__buttons_are_exact_between_grid_points(
    page: Any, report_input: ReportInput, go: str, suffix: str
) -> None:
    button = one(page, f"[data-go={go}]")
    button.click()
    found, expected = numbers(page, "overall-numbers"), report_input.judgement.metrics
    for name, same in OVERALL.items():
        assert found[name] == pytest.approx(expected[same + suffix], abs=1e-12), name
    assert button.get_attribute("aria-pressed") == "true"
    assert len(every(page, "[data-go][aria-pressed=true]")) == 1


def test_slider__best_button_finds_the_best_of_the_grid(page: Any, report_input: ReportInput) -> None:
    one(page, "[data-go=best]").click()
    cuts = (np.arange(1001) / 1000).astype(np.float32)
    best = max(decision_metrics(report_input.scores >= cut, report_input.targets)["f1_micro"] for cut in cuts)
    assert numbers(page, "overall-numbers")["f1_micro"] == pytest.approx(best, abs=1e-12)


def test_slider__column_of_the_table_follows(page: Any, report_input: ReportInput) -> None:
    set_slider(page, "threshold", 420)
    expected = {}
    for c, name in enumerate(NAMES):
        decided, truth = report_input.scores[:, c] >= np.float32(0.42), report_input.targets[:, c] == 1
        total = decided.sum() + truth.sum()
        expected[name] = 2 * (decided & truth).sum() / total if truth.any() else float("nan")
    found = dict(zip(column(page, "class", attribute="text"), map(float, column(page, "live")), strict=True))
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_one_class__numbers_equal_pythons(page: Any, report_input: ReportInput) -> None:
    for c in (0, 1, 2, ABSENT, len(NAMES) - 1):
        one(page, f"#pick-class option[value='{c}']").click()
        for k in (0, 317, 500):
            set_slider(page, "class-threshold", k)
            decided, truth = report_input.scores[:, c] >= np.float32(k / 1000), report_input.targets[:, c] == 1
            tp, fp, fn = ((decided & truth).sum(), (decided & ~truth).sum(), (~decided & truth).sum())
            expected = {
                "tp": tp, "fp": fp, "fn": fn, "precision": tp / max(tp + fp, 1), "recall": tp / max(tp + fn, 1),
                "f1": 2 * tp / max(2 * tp + fp + fn, 1),
            }  # fmt: skip
            assert numbers(page, "class-numbers") == pytest.approx(expected, abs=1e-12), (c, k)


def test_one_class__opens_at_its_fitted_threshold_with_its_failures(page: Any, report_input: ReportInput) -> None:
    c = 4
    every(page, "#class-table tbody a[data-open-class='4']")[0].click()
    row = report_input.per_class.iloc[c]
    found = numbers(page, "class-numbers")
    assert (found["tp"], found["fp"], found["fn"]) == (row["tp"], row["fp"], row["fn"])
    assert found["f1"] == pytest.approx(row["f1"], abs=1e-12)
    assert one(page, "#class-threshold-value").text == f"{row['threshold']:.3f}"
    expected = [item for item in report_input.gallery if item.class_idx == c]
    shown = every(page, "#class-failures .failure")
    assert len(shown) == len(expected) > 0
    assert len(every(page, "#class-failures img")) == sum(item.jpeg is not None for item in expected)
    assert str(expected[0].image_id) in shown[0].text


def test_one_class__names_are_text(page: Any) -> None:
    options = [option.get_property("textContent") for option in every(page, "#pick-class option")]
    assert options == list(NAMES)


@pytest.mark.parametrize(("key", "name"), [("ap", "ap"), ("support", "support"), ("threshold", "threshold")])
def test_table__a_heading_sorts_both_ways(page: Any, report_input: ReportInput, key: str, name: str) -> None:
    values = report_input.per_class[name].dropna().sort_values().tolist()
    heading = one(page, f"#class-table th[data-key={key}]")
    heading.find_element("tag name", "button").click()
    found = [float(value) for value in column(page, key)]
    assert heading.get_attribute("aria-sort") == "descending"
    assert found[: len(values)] == pytest.approx(values[::-1])
    heading.find_element("tag name", "button").send_keys("\ue007")  # Enter
    found = [float(value) for value in column(page, key)]
    assert heading.get_attribute("aria-sort") == "ascending"
    assert found[: len(values)] == pytest.approx(values)
    assert all(np.isnan(found[len(values) :]))
    assert len(every(page, "#class-table th[aria-sort]")) == 1


def test_table__sorts_by_name(page: Any) -> None:
    one(page, "#class-table th[data-key=class] button").click()
    names = column(page, "class")
    assert names[-1] == "ünïcode 猫"
    assert names.index("cat") < names.index("person") < names.index("tie")


def test_table__is_filtered_by_text_and_by_group(page: Any, report_input: ReportInput) -> None:
    one(page, "#find-class").send_keys("<B>&")
    assert column(page, "class", attribute="text") == [NAMES[1]]
    assert one(page, "#shown-classes").text == f"1 of {len(NAMES)} classes"
    one(page, "#find-class").clear()
    one(page, "#find-class").send_keys(" ")
    one(page, "#pick-group option:nth-child(4)").click()
    table = report_input.per_class
    assert sorted(column(page, "class", attribute="text")) == sorted(table["class_name"][table["group"] == "tail"])


def test_keyboard__tab_reaches_the_slider_and_arrows_change_the_numbers(page: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    for _ in range(60):
        ActionChains(page).send_keys(Keys.TAB).perform()
        if page.switch_to.active_element.get_attribute("id") == "threshold":
            break
    slider = page.switch_to.active_element
    assert slider.get_attribute("id") == "threshold"
    assert page.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    set_slider(page, "threshold", 500)
    before = numbers(page, "overall-numbers")
    slider.send_keys(Keys.ARROW_RIGHT)
    assert one(page, "#threshold-value").text == "0.501"
    slider.send_keys(Keys.PAGE_UP)
    assert float(one(page, "#threshold-value").text) > 0.501
    assert numbers(page, "overall-numbers") != before
    assert slider.get_attribute("aria-valuetext").startswith(one(page, "#threshold-value").text + ": micro-F1 0.")


def test_keyboard__everything_that_takes_focus_has_a_name(page: Any) -> None:
    controls = every(page, "main a, main button, main input, main select, main [tabindex='0']")
    shown = [control for control in controls if control.is_displayed()]
    assert len(shown) > 30
    assert [control.get_attribute("outerHTML")[:80] for control in shown if not control.accessible_name] == []


def test_chart__a_click_moves_the_slider(page: Any) -> None:
    from selenium.webdriver import ActionChains

    chart = one(page, "#overall-chart")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", chart)
    ActionChains(page).move_to_element(chart).click_and_hold().release().perform()
    value = float(one(page, "#threshold-value").text)
    assert value == pytest.approx((320 - 40) / (640 - 54), abs=0.01)
    assert float(one(page, "#threshold").get_attribute("value")) / 1000 == value


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page__text_is_readable_in_light_and_dark(page: Any, scheme: str) -> None:
    """Contrast of at least 4.5 : 1 (WCAG AA) for ink and muted text on paper, card and note."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    script = """
      const style = getComputedStyle(document.documentElement);
      return arguments[0].map(name => style.getPropertyValue(name).trim())"""
    names = ("--ink", "--muted", "--paper", "--card", "--note")
    values = page.execute_script(script, list(names))
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    light = {name: luminance(value) for name, value in zip(names, values, strict=True)}
    assert (light["--paper"] > light["--ink"]) == (scheme == "light")
    for text in ("--ink", "--muted"):
        for ground in ("--paper", "--card", "--note"):
            low, high = sorted((light[text], light[ground]))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def luminance(color: str) -> float:
    """Relative luminance of ``#rrggbb``, WCAG 2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
