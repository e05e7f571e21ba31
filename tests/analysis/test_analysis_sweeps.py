"""Ranked tables, and main effects against scipy's analysis of variance."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from src.analysis.sweeps import main_effects, parse_override, sweep_table, swept_keys


def rows_of(overrides: list[list[str]], objectives: list[float | None], **more: Any) -> list[dict[str, Any]]:
    return [
        {"job": str(n), "overrides": words, "status": "finished" if y is not None else "failed",
         **({"objective": y} if y is not None else {}), **more}
        for n, (words, y) in enumerate(zip(overrides, objectives, strict=True))
    ]  # fmt: skip


def grid(y: Any, *, lr: int = 3, loss: int = 2) -> pd.DataFrame:
    """Finished jobs over a full grid; ``y`` in the order of itertools.product."""
    cells = list(itertools.product(range(lr), "abcdefgh"[:loss]))
    frame = pd.DataFrame(cells, columns=["lr", "loss"]).astype({"lr": float})
    return frame.assign(objective=np.asarray(y, dtype=float), status="finished")


def shares(table: pd.DataFrame) -> dict[str, float]:
    found = main_effects(table, ["lr", "loss"])
    return dict(zip(found["key"], found["share"], strict=True))


def test_parse_override__key_and_value() -> None:
    assert parse_override("+experiment=focal") == ("experiment", "focal")
    assert parse_override("data.root=a=b") == ("data.root", "a=b")


def test_swept_keys__only_what_differs_in_the_order_typed() -> None:
    jobs = [["+experiment=smoke", "seed=0", "loss=focal"], ["+experiment=smoke", "seed=1", "loss=bce"]]
    assert swept_keys(jobs) == ["seed", "loss"]
    assert swept_keys(jobs[:1]) == []
    assert swept_keys([["+experiment=a"], ["+experiment=b"]]) == ["experiment"]


def test_swept_keys__a_key_that_some_jobs_lack_is_swept() -> None:
    assert swept_keys([["loss=focal", "loss.gamma=2"], ["loss=focal"]]) == ["loss.gamma"]


def test_sweep_table__types_ranks_and_missing_values() -> None:
    overrides = [["lr=1e-3", "loss=bce"], ["lr=0.1", "loss=focal", "gamma=2"], ["lr=0.2", "loss=bce"]]
    table = sweep_table(rows_of(overrides, [0.1, 0.3, None]), ["lr", "loss", "gamma"])
    assert table["job"].tolist() == ["1", "0", "2"]
    assert table["lr"].tolist() == [0.1, 1e-3, 0.2]
    assert table["loss"].tolist() == ["focal", "bce", "bce"]
    assert table["gamma"].tolist()[0] == 2.0
    assert table["gamma"].isna().tolist() == [False, True, True]
    assert table["rank"].isna().tolist() == [False, False, True]
    assert "seconds" not in table


def test_sweep_table__results_that_some_job_has() -> None:
    rows = rows_of([["a=1"], ["a=2"]], [0.5, 0.25])
    rows[1]["val/map"] = 0.125
    table = sweep_table(rows, ["a"])
    assert table["val/map"].isna().tolist() == [True, False]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_main_effects__is_eta_squared_of_scipys_one_way_analysis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"loss": rng.choice(list("abc"), 12), "objective": rng.normal(size=12), "status": "finished"})
    parts = [part["objective"].to_numpy() for _, part in table.groupby("loss")]
    if len(parts) < 2:
        return
    statistic = scipy.stats.f_oneway(*parts).statistic
    between, within = len(parts) - 1, 12 - len(parts)
    expected = statistic * between / (statistic * between + within)
    found = main_effects(table, ["loss"])
    assert found["share"].tolist() == pytest.approx([expected], abs=1e-12)
    assert found["chance"].tolist() == pytest.approx([between / 11])
    assert found["jobs"].tolist() == [12]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=12, max_size=12).filter(lambda y: np.std(y) > 1e-3))
def test_main_effects__of_a_full_grid_add_up_to_at_most_one(y: list[float]) -> None:
    found = shares(grid(y, lr=4, loss=3))
    assert all(0 <= share <= 1 + 1e-12 for share in found.values())
    assert sum(found.values()) <= 1 + 1e-9


def test_main_effects__of_an_additive_objective_explain_all_of_it() -> None:
    found = shares(grid([lr + 10 * loss for lr in (0, 1, 4) for loss in (0, 1)]))
    assert sum(found.values()) == pytest.approx(1)
    assert found["loss"] > found["lr"]


def test_main_effects__interaction_alone_explains_nothing() -> None:
    found = shares(grid([0, 1, 1, 0], lr=2, loss=2))
    assert found == pytest.approx({"lr": 0, "loss": 0})


def test_main_effects__chance_is_the_mean_over_shuffled_objectives() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=12)
    found = [main_effects(grid(rng.permutation(y), lr=4, loss=3), ["lr"]).iloc[0] for _ in range(150)]
    drawn = np.array([row["share"] for row in found])
    assert found[0]["chance"] == pytest.approx(3 / 11)
    assert drawn.mean() == pytest.approx(3 / 11, abs=4 * drawn.std() / np.sqrt(len(drawn)))


def test_main_effects__honest_with_few_jobs() -> None:
    assert main_effects(grid([0.1, 0.2, 0.3], lr=3, loss=1), ["lr", "loss"]).empty
    alone = grid([0.1, 0.2, 0.3, 0.4], lr=1, loss=4)  # each value once: whatever it is, it explains everything
    assert main_effects(alone, ["lr", "loss"]).empty
    assert main_effects(grid([0.5] * 6), ["lr", "loss"]).empty


def test_main_effects__only_finished_jobs_count() -> None:
    table = grid([0, 1, 2, 3, 4, 5])
    worse = pd.concat([table, table.assign(status="pruned", objective=-9.0), table.assign(objective=np.nan)])
    pd.testing.assert_frame_equal(main_effects(worse, ["lr", "loss"]), main_effects(table, ["lr", "loss"]))


def test_main_effects__numbers_that_never_repeat_are_grouped() -> None:
    x = np.linspace(0, 1, 20)
    table = pd.DataFrame({"lr": x, "noise": np.tile([0.1, 0.9], 10) + x * 1e-6, "objective": x, "status": "finished"})
    found = main_effects(table, ["lr", "noise"]).set_index("key")
    # five groups of four: what lies within them is 1/25 of the variance of the ranks, a little less than 0.04
    within = np.var(np.arange(4)) / np.var(np.arange(20))
    assert found.loc["lr", "share"] == pytest.approx(1 - within)
    assert found.loc["lr", "chance"] == pytest.approx(4 / 19)
    assert found.loc["noise", "share"] < found.loc["lr", "share"]


def test_main_effects__a_conditional_key_is_judged_among_the_jobs_that_have_it() -> None:
    table = pd.DataFrame(
        {"gamma": [1.0, 1.0, 2.0, 2.0, np.nan, np.nan], "objective": [0, 0, 1, 1, 9, 9], "status": "finished"}
    )
    found = main_effects(table, ["gamma"])
    assert found[["share", "jobs"]].to_numpy().tolist() == [[1.0, 4]]
