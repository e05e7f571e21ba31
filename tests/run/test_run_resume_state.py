"""What a resumed run must remember besides its weights: that it had stopped, how long it was, how far it came."""

from pathlib import Path

import pytest

from src.config.check import composed
from src.config.help import help_text
from src.config.schema.errors import UserError
from src.config.schema.root import Job
from src.config.store import register
from src.run.training import train
from src.runfolder import RunFolder
from tests.conftest import Compose


def test_resume__a_run_that_had_stopped_early_trains_no_further_epoch(smoke: Compose, tmp_path: Path) -> None:
    options = ("callbacks.early_stopping=1", "trainer.max_epochs=9", "debug=fast", "optimizer.lr=1e-12")
    folder = RunFolder(tmp_path / "run")
    train(Job(smoke(*options), folder.path, [], resumed=False))
    before = folder.read_json("summary.json")
    assert before["epochs"] < 9
    (folder.path / "summary.json").unlink()  # as if killed while val was scored
    train(Job(smoke(*options), folder.path, [], resumed=True))
    after = folder.read_json("summary.json")
    assert (after["epochs"], after["best_epoch"]) == (before["epochs"], before["best_epoch"])
    assert after["val/map"] == before["val/map"]
    assert after["train_seconds"] == before["train_seconds"]
    assert after["seconds"] > before["train_seconds"]


def test_train__mistyped_weights_are_the_users_mistake_and_leave_no_folder(smoke: Compose, tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "smoke" / "now"
    folder.mkdir(parents=True)  # Hydra makes it
    with pytest.raises(UserError, match=r"model\.weights=/nowhere\.pth"):
        train(Job(smoke("model.weights=/nowhere.pth"), folder, [], resumed=False))
    assert not folder.parent.exists()


def test_help__of_evaluate_lists_no_group_it_cannot_choose() -> None:
    register()
    assert "Groups" not in help_text("evaluate", composed("evaluate", [])[0], usage="usage")
    assert "data        auto" in help_text("describe", composed("describe", [])[0], usage="usage")
