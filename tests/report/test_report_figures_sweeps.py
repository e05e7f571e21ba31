"""Pictures of sweeps: what is drawn is what the table says."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from src.analysis.sweeps import main_effects, sweep_table, swept_keys
from src.report.figures.style import ORANGE, to_png
from src.report.figures.sweeps import UNSET, draw_history, draw_importance, draw_parallel, sweep_figure


def table_of(rows: list[tuple[list[str], str, float]]) -> tuple[pd.DataFrame, list[str]]:
    jobs = [{"job": str(n), "overrides": o, "status": s, "objective": y} for n, (o, s, y) in enumerate(rows)]
    keys = swept_keys([job["overrides"] for job in jobs])
    return sweep_table(jobs, keys), keys


@pytest.fixture
def study() -> tuple[pd.DataFrame, list[str]]:
    return table_of([
        (["lr=0.001", "loss=bce"], "finished", 0.2),
        (["lr=0.01", "loss=focal", "gamma=1"], "finished", 0.4),
        (["lr=0.1", "loss=focal", "gamma=3"], "finished", 0.6),
        (["lr=0.1", "loss=bce"], "finished", 0.3),
        (["lr=0.001", "loss=focal", "gamma=3"], "pruned", 0.1),
        (["lr=0.05", "loss=bce"], "failed", np.nan),
    ])  # fmt: skip


def axes() -> Any:
    return Figure().subplots()


def test_draw_parallel__a_line_per_job_with_an_objective(study: tuple[pd.DataFrame, list[str]]) -> None:
    table, keys = study
    drawn = axes()
    draw_parallel(drawn, table, keys, objective="holdout/map")
    assert [text.get_text() for text in drawn.get_xticklabels()] == ["lr", "loss", "gamma", "holdout/map"]
    lines = [line.get_ydata() for line in drawn.get_lines() if len(line.get_xdata()) == 4]
    assert len(lines) == 5
    best = next(line for line in drawn.get_lines() if line.get_color() == ORANGE)
    assert best.get_ydata() == pytest.approx([1.0, 0.75, 1.0, 1.0])  # job 2: lr 0.1, focal, gamma 3
    assert best.get_label() == "best: 2"
    middle = next(y for y in lines if y[-1] == pytest.approx(0.6))  # job 1: lr 0.01 on a logarithmic axis
    assert middle[0] == pytest.approx(0.5)
    assert sum(y[2] == UNSET for y in lines) == 2


def test_draw_parallel__texts_are_ordered_by_the_mean_of_finished_jobs() -> None:
    table, keys = table_of([
        (["loss=a"], "finished", 0.5), (["loss=b"], "finished", 0.1), (["loss=c"], "finished", 0.3),
        (["loss=a"], "pruned", 0.0),
    ])  # fmt: skip
    drawn = axes()
    draw_parallel(drawn, table, keys, objective="y")
    heights = {text.get_text(): text.get_position()[1] for text in drawn.texts}
    assert heights["b"] < heights["c"] < heights["a"]


def test_draw_importance__bars_are_the_shares_and_ticks_are_chance(study: tuple[pd.DataFrame, list[str]]) -> None:
    table, keys = study
    effects = main_effects(table, keys)
    drawn = axes()
    draw_importance(drawn, effects, jobs=4)
    assert [bar.get_width() for bar in drawn.patches] == pytest.approx(effects["share"].tolist())
    assert np.asarray(drawn.collections[0].get_offsets())[:, 0] == pytest.approx(effects["chance"].to_numpy())
    assert "(4 finished jobs)" in drawn.get_title(loc="left")


def test_draw_importance__says_why_it_is_left_out(study: tuple[pd.DataFrame, list[str]]) -> None:
    table, keys = study
    drawn = axes()
    draw_importance(drawn, main_effects(table.head(3), keys), jobs=3)
    assert not drawn.patches
    assert [text.get_text() for text in drawn.texts] == ["too few finished jobs, or no value that repeats"]


def test_draw_history__best_so_far_never_falls_and_pruned_do_not_count(study: tuple[pd.DataFrame, list[str]]) -> None:
    drawn = axes()
    draw_history(drawn, study[0], objective="y")
    (best,) = drawn.get_lines()
    assert best.get_ydata().tolist() == pytest.approx([0.2, 0.4, 0.6, 0.6])
    finished, pruned = (found.get_offsets() for found in drawn.collections)
    assert len(finished) == 4
    assert np.asarray(pruned).tolist() == [[4, 0.1]]


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("jobs", [1, 2, 6])
def test_sweep_figure__can_be_drawn_whatever_has_ended(
    study: tuple[pd.DataFrame, list[str]], jobs: int, history: bool
) -> None:
    table, keys = study
    part = table.head(jobs)
    figure = sweep_figure(part, keys, main_effects(part, keys), objective="$y", history=history)
    assert to_png(figure, dpi=40).startswith(b"\x89PNG")
    assert len(figure.axes) == 2 + history


def test_sweep_figure__without_any_objective_says_so(study: tuple[pd.DataFrame, list[str]]) -> None:
    table, keys = study
    none = table.tail(1)
    figure = sweep_figure(none, keys, main_effects(none, keys), objective="y", history=True)
    told = {text.get_text() for axes_ in figure.axes for text in axes_.texts}
    assert {"no job has an objective yet", "no trial has an objective yet"} <= told
