"""Statistics of the benchmarks, from turns with known times; no test asserts a measured time."""

import json
import statistics
import sys
from typing import Any

import pytest

from benchmarks.findings import Finding, Spread, memory, per_item, seconds
from benchmarks.measuring import BenchmarkError, Spent, Turns, interleave, python, run_process
from benchmarks.table import target

TURNS = Turns(
    ours=[Spent(1.0, 2.0, 100.0), Spent(2.0, 4.0, 110.0), Spent(4.0, 4.0, 120.0)],
    peers=[Spent(10.0, 8.0, 400.0), Spent(10.0, 8.0, 400.0), Spent(12.0, 12.0, 420.0)],
)


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {"row": "r", "what": "w", "peer": "p", **seconds(TURNS, "wall")}
    return Finding(**values | changes)


def test_interleave__sides_take_turns_and_warm_up_does_not_count() -> None:
    order: list[str] = []

    def turn(name: str) -> Spent:
        order.append(name)
        return Spent(float(len(order)), 0.0)

    turns = interleave(lambda: turn("a"), lambda: turn("b"), repeats=2, warmup=1)
    assert order == ["a", "b"] * 3
    assert [spent.wall for spent in turns.ours] == [3.0, 5.0]
    assert [spent.wall for spent in turns.peers] == [4.0, 6.0]


def test_spread__is_median_lowest_highest() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0, 4)


def test_finding__ratio_is_that_of_neighbours_in_time() -> None:
    assert finding().ratios == (10.0, 5.0, 3.0)
    assert finding(**seconds(TURNS, "cpu")).ratios == (4.0, 2.0, 3.0)
    assert finding(**memory(TURNS)).ratios == (4.0, 400 / 110, 3.5)
    assert per_item(TURNS, "wall", items=10, unit="image") == {
        "unit": "ms wall / image", "ours": (100.0, 200.0, 400.0), "peers": (1000.0, 1000.0, 1200.0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "goal", "holds"),
    [
        ("ratio", 5.0, True), ("ratio", 5.1, False),
        ("limit", 2.0, True), ("limit", 1.9, False),
        ("overhead", -0.8, True), ("overhead", -0.81, False),
        ("shown", None, None),
    ],
)  # fmt: skip
def test_finding__holds_by_the_median(rule: str, goal: float | None, holds: bool | None) -> None:
    assert finding(rule=rule, target=goal).holds is holds


def test_finding__survives_json() -> None:
    whole = finding(rule="ratio", target=3.0, note="n")
    content = json.loads(json.dumps(whole.to_json()))
    assert Finding.from_json(content) == whole
    assert content["ratio_spread"] == {"median": 5.0, "low": 3.0, "high": 10.0, "n": 3}
    assert content["ours_spread"]["median"] == statistics.median([1.0, 2.0, 4.0])
    assert content["holds"] is True


def test_target__in_a_few_characters() -> None:
    shown = [target(finding(rule=rule, target=0.5)) for rule in ("ratio", "limit", "overhead", "shown")]
    assert shown == [">= 0.5x", "<= 0.5", "<= +50%", ""]


def test_run_process__measures_a_fresh_process_and_reads_its_last_line() -> None:
    code = "import json; block = bytearray(80 * 2**20); print('first'); print(json.dumps({'wall': 1}))"
    spent = run_process([sys.executable, "-c", code])
    assert spent.answer == {"wall": 1}
    assert spent.peak_mb > 80
    assert spent.cpu > 0
    assert spent.wall > 0


def test_run_process__another_exit_code_is_an_error_with_what_was_said() -> None:
    with pytest.raises(BenchmarkError, match=r"exit code 3\n.*out of luck"):
        run_process(python("-c", "print('out of luck'); raise SystemExit(3)"))
    assert run_process(python("-c", "raise SystemExit(3)"), expect=(3,)).answer is None
