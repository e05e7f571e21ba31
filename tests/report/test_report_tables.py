"""Tables for the terminal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.report.tables import closing_table, metrics_table


def cells(table: Any) -> list[list[str]]:
    return [list(column.cells) for column in table.columns]


def test_closing_table__missing_scores_are_a_dash() -> None:
    table = closing_table({"val": {"map": (0.5, None), "f1_micro": (0.25, (0.2, 0.3))}}, title="x")
    assert cells(table) == [["val"], ["0.5000"], ["0.2500 [0.200, 0.300]"], ["-"]]
    nothing = closing_table({"val": {"map": (0.0, (0.0, 0.0))}}, title="x")
    assert cells(nothing)[1] == ["0.0000 [0.000, 0.000]"]


@given(value=st.floats(0, 1), below=st.floats(0, 1), above=st.floats(0, 1))
def test_closing_table__the_score_lies_within_the_interval_shown(value: float, below: float, above: float) -> None:
    low, high = value - below, value + above
    ((text,),) = cells(closing_table({"val": {"map": (value, (low, high))}}, title="x"))[1:2]
    shown, shown_low, shown_high = (float(word.strip("[],")) for word in text.split())
    assert shown_low <= shown <= shown_high
    assert shown_low == pytest.approx(low, abs=0.00101)
    assert shown_high == pytest.approx(high, abs=0.00101)


def test_metrics_table__read_down_and_then_across() -> None:
    table = metrics_table({"map": 0.5, "or": 0.0, "op": 0.25}, title="x", columns=2)
    assert cells(table) == [["map", "or"], ["0.5000", "0.0000"], ["op", ""], ["0.2500", ""]]
    assert cells(metrics_table({"map": 0.5}, title="x"))[:2] == [["map"], ["0.5000"]]
    assert table.row_count == 2
