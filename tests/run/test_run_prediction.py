"""Labels of image files: the same scores as evaluation, decided by the run's thresholds, nothing lost."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.analysis.calibration import fit_platt
from src.analysis.decisions import DecisionError, by_threshold
from src.analysis.thresholds import ThresholdError, Thresholds
from src.callbacks.checkpoint_io import AtomicCheckpointIO, CheckpointError, load_checkpoint
from src.config.schema.errors import ConfigError, UserError
from src.config.schema.predict import PredictConfig, PredictDataConfig
from src.data.sample.synthetic import ensure_sample
from src.run.prediction import decide, predict_files
from src.runfolder import RunFolder
from tests.conftest import ROOT


@pytest.fixture
def photos(cache_dir: Path, tmp_path: Path) -> Path:
    """The val images that the finished run was scored on."""
    sample = ensure_sample(cache_dir, train_images=160, val_images=48, seed=7)
    return Path(shutil.copytree(sample / "val2017", tmp_path / "photos"))


def wish(run: RunFolder | Path, photos: Path, output: Path, **changes: Any) -> PredictConfig:
    data = PredictDataConfig(num_workers=0, on_error=str(changes.pop("on_error", "raise")))
    place = run.path if isinstance(run, RunFolder) else run
    return PredictConfig(run=str(place), input=str(photos), output=str(output), data=data, **changes)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["per_class", "global"])
def test_predict__scores_are_evaluations_and_labels_follow_the_runs_thresholds(
    finished: RunFolder, photos: Path, tmp_path: Path, mode: str
) -> None:
    predict_files(wish(finished, photos, tmp_path / "l.jsonl", thresholds=mode))
    val = finished.read_predictions("val")  # ordered by image id, as the sample's file names are
    found = lines(tmp_path / "l.jsonl")
    assert [line["image"] for line in found] == sorted(path.name for path in photos.iterdir())
    scores = np.array([list(line["scores"].values()) for line in found], np.float32)
    np.testing.assert_allclose(scores, val.scores, atol=1e-6)
    thresholds = Thresholds.from_json(finished.read_json("thresholds.json"), class_names=val.class_names)
    expected = by_threshold(scores, thresholds.at(mode))
    assert expected.any()
    assert not expected.all()
    for line, decided in zip(found, expected, strict=True):
        assert set(line["labels"]) == {name for name, yes in zip(val.class_names, decided, strict=True) if yes}


def test_predict__labels_stand_with_the_highest_score_first(finished: RunFolder, photos: Path, tmp_path: Path) -> None:
    predict_files(wish(finished, photos, tmp_path / "l.jsonl", thresholds="none", top_k=3))
    for line in lines(tmp_path / "l.jsonl"):
        scores: dict[str, float] = line["scores"]
        assert line["labels"] == sorted(scores, key=lambda name: -scores[name])[:3]


def test_predict__a_checkpoint_alone_says_the_same(finished: RunFolder, photos: Path, tmp_path: Path) -> None:
    alone = shutil.copy(finished.best, tmp_path / "model.ckpt")
    predict_files(wish(Path(alone), photos, tmp_path / "a.jsonl"))
    predict_files(wish(finished, photos, tmp_path / "b.jsonl"))
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "b.jsonl").read_text()


@pytest.mark.parametrize("engine", ["folded", "onnxruntime", "openvino"])
def test_predict__every_engine_gives_the_scores(
    finished_copy: RunFolder, photos: Path, tmp_path: Path, engine: str
) -> None:
    if engine in ("onnxruntime", "openvino"):
        pytest.importorskip(engine)
    for name in ("torch", engine):
        predict_files(wish(finished_copy, photos, tmp_path / f"{name}.jsonl", engine=name))
    plain, other = (
        np.array([list(line["scores"].values()) for line in lines(tmp_path / f"{name}.jsonl")])
        for name in ("torch", engine)
    )
    np.testing.assert_allclose(other, plain, atol=1e-4)


def test_predict__a_checkpoint_alone_has_no_place_for_a_graph(
    finished: RunFolder, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="engine=openvino: keeps its graph in the run folder; run=FOLDER"):
        predict_files(wish(finished.best, photos, tmp_path / "l.csv", engine="openvino"))
    predict_files(wish(finished.best, photos, tmp_path / "l.csv", engine="folded"))
    assert (tmp_path / "l.csv").is_file()


def test_predict__csv_holds_what_jsonl_holds(finished: RunFolder, photos: Path, tmp_path: Path) -> None:
    for name in ("l.csv", "l.jsonl"):
        predict_files(wish(finished, photos, tmp_path / name))
    rows = list(csv.DictReader((tmp_path / "l.csv").open(newline="")))
    found = lines(tmp_path / "l.jsonl")
    assert [row["image"] for row in rows] == [line["image"] for line in found]
    for row, line in zip(rows, found, strict=True):
        assert row["labels"].split(";") == line["labels"] or (row["labels"] == "" and line["labels"] == [])
        scores: dict[str, float] = line["scores"]
        assert {name: float(row[name]) for name in scores} == scores


def test_predict__a_broken_image_is_an_error_or_stands_in_the_output(
    finished: RunFolder, photos: Path, tmp_path: Path
) -> None:
    first = min(photos.iterdir())
    first.write_bytes(b"")
    output = tmp_path / "l.jsonl"
    with pytest.raises(UserError, match=rf"{first.name}: the file is empty"):
        predict_files(wish(finished, photos, output))
    assert not output.exists()
    predict_files(wish(finished, photos, output, on_error="skip"))
    found = lines(output)
    assert found[0] == {"image": first.name, "error": "the file is empty (0 bytes)"}
    assert len(found) == len(list(photos.iterdir()))
    assert all("error" not in line for line in found[1:])


def test_predict__what_makes_its_labels_worthless_is_said_again(
    finished_copy: RunFolder, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = finished_copy.read_json("evaluation.json")
    for notes in (["no better than naming the 3 most frequent classes"], []):
        finished_copy.write_json("evaluation.json", evaluation | {"notes": notes})
        predict_files(wish(finished_copy, photos, tmp_path / "l.jsonl"))
        said = "careful: on val this run was no better than naming the 3" in capsys.readouterr().out.replace("\n", " ")
        assert said is bool(notes)
    (finished_copy.path / "evaluation.json").unlink()
    predict_files(wish(finished_copy, photos, tmp_path / "l.jsonl"))


@pytest.mark.parametrize("cut", ["per_class", "global"])
def test_predict__what_is_wrong_with_the_classes_own_thresholds_is_said_where_they_decide(
    finished_copy: RunFolder, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cut: str
) -> None:
    evaluation = finished_copy.read_json("evaluation.json")
    notes = {"notes": [], "notes_on_own_thresholds": ["worse than naming the person"]}
    finished_copy.write_json("evaluation.json", evaluation | notes)
    predict_files(wish(finished_copy, photos, tmp_path / "l.jsonl", thresholds=cut))
    said = "careful: on val this run was worse than naming the person" in capsys.readouterr().out.replace("\n", " ")
    assert said is (cut == "per_class")


def test_predict__calibrated_scores_change_no_label(finished_copy: RunFolder, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no calibration\.json; python -m src\.evaluate run=\S+ calibrate=platt"):
        predict_files(wish(finished_copy, photos, tmp_path / "c.jsonl", calibrated=True))
    fitting = finished_copy.read_predictions("holdout")
    calibration = fit_platt(fitting.scores, fitting.targets, class_names=fitting.class_names)
    finished_copy.write_json("calibration.json", calibration.to_json())
    predict_files(wish(finished_copy, photos, tmp_path / "a.jsonl"))
    predict_files(wish(finished_copy, photos, tmp_path / "c.jsonl", calibrated=True))
    plain, corrected = lines(tmp_path / "a.jsonl"), lines(tmp_path / "c.jsonl")
    assert [set(line["labels"]) for line in plain] == [set(line["labels"]) for line in corrected]
    table = np.array([list(line["scores"].values()) for line in plain], np.float32)
    expected = calibration.apply(table)
    scores = np.array([list(line["scores"].values()) for line in corrected])
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.abs(scores - table).max() > 0.01


def test_decide__refuses_what_cannot_be_decided() -> None:
    scores_NC = np.zeros((2, 3), np.float32)
    with pytest.raises(ThresholdError, match="thresholds=per_class: the checkpoint has none"):
        decide(scores_NC, "per_class", 0, None)
    with pytest.raises(DecisionError, match="must lie in 0 to 3"):
        decide(scores_NC, "none", 4, None)
    assert decide(scores_NC + np.float32([0.1, 0.5, 0.9]), 0.5, 1, None).tolist() == [[False, False, True]] * 2


def test_predict__a_foreign_checkpoint_is_refused(finished: RunFolder, photos: Path, tmp_path: Path) -> None:
    content = load_checkpoint(finished.best)
    del content["stamp"]
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match="does not say which model it holds"):
        predict_files(wish(tmp_path / "foreign.ckpt", photos, tmp_path / "l.csv"))


def test_predict__the_output_folder_must_exist(finished: RunFolder, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"output=.*l\.csv: no folder"):
        predict_files(wish(finished, photos, tmp_path / "gone" / "l.csv"))


@pytest.mark.slow
def test_predict_command__answers_wrong_paths_without_torch(finished: RunFolder, tmp_path: Path) -> None:
    code = (
        "import sys; from src import predict; sys.argv[1:] = sys.argv[1:]\n"
        "try: predict.main()\nfinally: print('torch' in sys.modules)"
    )
    words = [f"run={finished.path}", f"input={tmp_path / 'gone'}", "output=x.csv"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == f"error: input: no file or folder {tmp_path / 'gone'}\n"
    assert done.stdout == "False\n"
