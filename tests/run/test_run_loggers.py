"""Loggers besides the run's own records."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from src.config.schema.errors import ConfigError
from src.config.schema.training import LoggerConfig
from src.run.loggers import build_loggers
from tests.run.conftest import SHORT, Run


def test_loggers__none_by_default(tmp_path: Path) -> None:
    assert build_loggers(LoggerConfig(), tmp_path, name="x") == []


@pytest.mark.parametrize("package", ["tensorboard", "wandb", "mlflow"])
def test_loggers__a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == package else find(name, *a))
    with pytest.raises(ConfigError, match=rf"logger\.{package}=true: not installed; pip install '\.\[{package}\]'"):
        build_loggers(LoggerConfig(**{package: True}), tmp_path, name="x")


def test_tensorboard__each_epoch_is_written_once(run: Run, tmp_path: Path) -> None:
    accumulator: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = run(tmp_path / "run", *SHORT, "trainer.max_epochs=2", "logger=tensorboard")
    events = accumulator.EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    records = folder.read_records()
    for key in ("train/loss", "holdout/map", "lr"):
        points = events.Scalars(key)
        assert [point.step for point in points] == [0, 1]
        assert [point.value for point in points] == pytest.approx([record[key] for record in records], abs=1e-6)
