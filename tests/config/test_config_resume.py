"""What may stand beside ``resume=RUN``."""

from pathlib import Path

import pytest

from src.config.resume import continued
from src.config.schema.errors import ConfigError


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
