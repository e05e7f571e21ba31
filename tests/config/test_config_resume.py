"""What may stand beside ``resume=RUN``."""

import json
import os
import time
from pathlib import Path

import pytest

from src.config.resume import continued
from src.config.schema.errors import ConfigError
from src.runfolder import RunFolderError
from src.runhold import RunHeldError, holding


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(
        "seed: 3\ncache_dir: /c\nloss: {gamma: 2.0}\noptimizer: {lr: 0.1}\nscheduler: {}\ntrainer: {max_epochs: 3}\n"
    )
    (tmp_path / "overrides.yaml").write_text("- loss=focal\n- +experiment=bce\n")
    return tmp_path


@pytest.mark.parametrize(
    "change", ["seed=3", "loss=focal", "+experiment=bce", "optimizer.lr=0.1", "loss.gamma=2.0", "cache_dir=/other"]
)
def test_continued__what_changes_nothing_may_be_given_again(run: Path, change: str) -> None:
    words = continued([f"resume={run}", change])
    assert words.count(change) == 1
    assert f"hydra.run.dir='{run}'" in words


@pytest.mark.parametrize("change", ["seed=4", "loss=bce", "optimizer.lr=0.2"])
def test_continued__refuses_what_would_make_it_another_run(run: Path, change: str) -> None:
    with pytest.raises(ConfigError, match=f"{change} would make it another run; may change: .*thresholds.*, report"):
        continued([f"resume={run}", change])


def test_continued__a_run_that_is_being_trained_is_refused(run: Path) -> None:
    with holding(run), pytest.raises(RunHeldError, match=f"process {os.getpid()} is training this run"):
        continued([f"resume={run}"])
    assert continued([f"resume={run}"])


def make_run(folder: Path, *, status: str | None, age: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("scheduler: {}\ntrainer: {max_epochs: 3}\n")
    (folder / "overrides.yaml").write_text("[]")
    if status:
        (folder / "summary.json").write_text(json.dumps({"status": status}))
    os.utime(folder / "config.yaml", (time.time() - age,) * 2)
    return folder


def test_continued__latest_is_the_newest_whatever_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is being trained or finished does not silently become another one."""
    interrupted = make_run(tmp_path / "a" / "interrupted", status="interrupted", age=30)
    newest = make_run(tmp_path / "b" / "newest", status=None, age=10)
    words = ["resume=latest", f"output_dir={tmp_path}"]
    assert f"resume='{newest}'" in continued(words)
    with holding(newest), pytest.raises(RunHeldError, match=f"{newest}: process {os.getpid()} is training"):
        continued(words)
    (newest / "summary.json").write_text('{"status": "finished"}')
    with pytest.raises(
        ConfigError, match=f"{newest}: that run is finished; .*; the newest that is not: resume={interrupted}"
    ):
        continued(words)
    with pytest.raises(RunFolderError, match="latest: no run under"):
        continued(["resume=latest", f"output_dir={tmp_path / 'none'}"])


def test_continued__of_several_processes_the_others_are_given_what_the_first_made_of_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*continued([f"resume={run}"]), "hydra.job.name=train_ddp_process_1"]
    with pytest.raises(RunFolderError, match="no such folder"):  # quoted for Hydra: no user types that
        continued(words)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert continued(words) == words
