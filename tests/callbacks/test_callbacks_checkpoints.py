"""Which epoch is kept."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from src.callbacks.checkpoints import RunCheckpoint
from src.runfolder import RunFolder


def kept(scores: list[float], error: float, margin: float, *, cut: int | None = None) -> list[bool]:
    """Whether each epoch was kept; with ``cut`` the run is resumed there from the callback's state."""
    rule = RunCheckpoint(RunFolder(Path()), objective="holdout/map", every_steps=0, patience=0, margin=margin)
    found = []
    for epoch, score in enumerate(scores):
        if epoch == cut:
            state = rule.state_dict()
            rule = RunCheckpoint(RunFolder(Path()), objective="holdout/map", every_steps=0, patience=0, margin=margin)
            rule.load_state_dict(state)
        trainer = SimpleNamespace(callback_metrics={"holdout/map": score, "holdout/map_se": error})
        found.append(rule._judge(trainer, epoch))
    return found


@pytest.mark.parametrize("cut", [None, 1, 2, 3])
@pytest.mark.parametrize(
    ("margin", "expected"),
    [(0.0, [True, True, False, False, False]), (1.0, [True, True, True, False, True]), (9.0, [True] * 5)],
)
def test_run_checkpoint__keeps_the_latest_epoch_within_the_margin_of_the_highest(
    margin: float, expected: list[bool], cut: int | None
) -> None:
    assert kept([0.1, 0.5, 0.48, 0.46, 0.49], 0.025, margin, cut=cut) == expected


def test_run_checkpoint__a_slow_fall_does_not_move_the_mark() -> None:
    """The margin is counted from the highest epoch, not from the one kept before."""
    assert kept([0.5, 0.48, 0.46, 0.44, 0.42], 0.025, 1.0) == [True, True, False, False, False]


def test_run_checkpoint__checkpoints_of_before_the_margin_can_be_resumed() -> None:
    rule = RunCheckpoint(RunFolder(Path()), objective="holdout/map", every_steps=0, patience=2)
    rule.load_state_dict({"best_score": 0.5, "best_epoch": 3})
    assert rule._judge(SimpleNamespace(callback_metrics={"holdout/map": 0.4}), 4) is False
    assert (rule.best_epoch, rule._stalled(4), rule._stalled(5)) == (3, False, True)
