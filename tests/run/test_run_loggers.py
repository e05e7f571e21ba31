"""Loggers besides the run's own records."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from src.config.schema.errors import ConfigError
from src.config.schema.training import LoggerConfig
from src.run.loggers import build_loggers, log_figures
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
    folder = run(tmp_path / "run", *SHORT, "trainer.max_epochs=2", "logger=tensorboard", "report=true")
    events = accumulator.EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    records = folder.read_records()
    for key in ("train/loss", "holdout/map", "lr"):
        points = events.Scalars(key)
        assert [point.step for point in points] == [0, 1]
        assert [point.value for point in points] == pytest.approx([record[key] for record in records], abs=1e-6)
    assert {"report/epoch-curves", "report/class-intervals", "report/reliability"} <= set(events.Tags()["images"])


def test_mlflow__gets_every_figure_as_a_file() -> None:
    """Stands in for the logger: MLflow itself is no dependency of the tests."""
    logged: list[tuple[str, str]] = []

    class MLFlowLogger:
        run_id = "7"

        class experiment:  # noqa: N801
            @staticmethod
            def log_figure(run_id: str, figure: Figure, name: str) -> None:
                logged.append((run_id, name))

    log_figures([MLFlowLogger()], {"a": Figure(), "b": Figure()})  # type: ignore[list-item]
    assert logged == [("7", "report/a.png"), ("7", "report/b.png")]
