"""Files of the run folder: formats, and that a failure loses nothing."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from src.runfolder import Predictions, RunFolder, RunFolderError, find_run, replacing


def test_replacing__failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path, "w") as file:
            file.write("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_predictions__round_trip(tmp_path: Path) -> None:
    wrote = Predictions(np.float32([[0.25, 1.0]]), np.uint8([[0, 1]]), np.int64([2**40]), ("hair drier", "Zebra ü"))
    RunFolder(tmp_path).write_predictions("val", wrote)
    read = RunFolder(tmp_path).read_predictions("val")
    assert read.class_names == wrote.class_names
    assert read.scores.dtype == np.float32
    assert read.targets.dtype == np.uint8
    assert read.image_ids.tolist() == [2**40]
    np.testing.assert_array_equal(read.scores, wrote.scores)


def test_predictions__missing_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"python -m src\.evaluate run=.* split=holdout writes it"):
        RunFolder(tmp_path).read_predictions("holdout")


def test_records__csv_has_every_key(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_records([{"epoch": 0, "train/loss": 1.5}, {"epoch": 1, "train/loss": 1.0, "val/map": 0.5}])
    assert [record["epoch"] for record in folder.read_records()] == [0, 1]
    assert (tmp_path / "metrics.csv").read_text().splitlines() == ["epoch,train/loss,val/map", "0,1.5,", "1,1.0,0.5"]


def test_read_json__damaged_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{\n"a": }')
    with pytest.raises(RunFolderError, match=r"summary\.json: not JSON \(line 2"):
        RunFolder(tmp_path).read_json("summary.json")


def test_find_run__latest_and_mistakes(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run under"):
        find_run("latest", output_dir=str(tmp_path))
    for time, name in enumerate(("old", "new")):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "config.yaml"
        path.write_text(json.dumps({}))
        os.utime(path, (time, time))
    assert find_run("latest", output_dir=str(tmp_path)) == tmp_path / "new"
    weights = RunFolder(tmp_path / "old").best
    weights.parent.mkdir()
    weights.touch()
    assert find_run("latest", output_dir=str(tmp_path)) == tmp_path / "old"
    assert find_run("latest", output_dir=str(tmp_path), trained=False) == tmp_path / "new"
    with pytest.raises(RunFolderError, match=r"not a run folder \(no config\.yaml\); the newest below it is .*/new$"):
        find_run(str(tmp_path), output_dir=str(tmp_path))
