"""Scores of a finished run on its own splits and on another folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from src.analysis.calibration import Calibration, brier, fit_platt, fit_temperature
from src.callbacks.checkpoint_io import CheckpointError
from src.config.schema.errors import ConfigError
from src.config.schema.root import EvaluateConfig, EvaluateDataConfig
from src.config.schema.thresholds import ThresholdsConfig
from src.data.errors import DataError, ImageError
from src.run.evaluation import evaluate
from src.runfolder import RunFolder, RunFolderError
from tests.run.conftest import reference_scores


def wish(run: RunFolder | str, **changes: Any) -> EvaluateConfig:
    data = changes.pop("data", {})
    name = run if isinstance(run, str) else str(run.path)
    changes = {"report": False} | changes
    return EvaluateConfig(run=name, device="cpu", data=EvaluateDataConfig(num_workers=0, **data), **changes)


def relabel(folder: Path, split: str, *, without: str) -> None:
    """The same images under category ids in reverse order, one class not among the labels."""
    path = folder / f"annotations/instances_{split}2017.json"
    table = json.loads(path.read_text())
    gone = next(category["id"] for category in table["categories"] if category["name"] == without)
    table["categories"] = [category for category in table["categories"] if category["id"] != gone]
    table["annotations"] = [found for found in table["annotations"] if found["category_id"] != gone]
    for found in table["categories"]:
        found["id"] = 1000 - found["id"]
    for found in table["annotations"]:
        found["category_id"] = 1000 - found["category_id"]
    path.write_text(json.dumps(table))


@pytest.mark.parametrize("split", ["val", "holdout", "train"])
def test_evaluate__own_split(finished: RunFolder, tmp_path: Path, split: str) -> None:
    content = evaluate(wish(finished, split=split, output=str(tmp_path)))
    found = RunFolder(tmp_path).read_predictions(split)
    held = len(finished.read_predictions("holdout").scores)
    assert content["num_images"] == len(found.scores) == {"val": 48, "holdout": held, "train": 160 - held}[split]
    expected = reference_scores(found)
    assert {name: content["metrics"][name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert content["thresholds_fitted_on_this_split"] == (split == "holdout")
    assert json.loads((tmp_path / "evaluation.json").read_text()) == content
    if split != "train":  # the run itself has scored the others at its end
        before = finished.read_predictions(split)
        np.testing.assert_array_equal(found.image_ids, before.image_ids)
        np.testing.assert_allclose(found.scores, before.scores, atol=1e-6)
        summary = finished.read_json("summary.json")
        tuned = ("f1_micro_tuned", "f1_macro_tuned")
        assert [content["metrics"][name] for name in tuned] == pytest.approx(
            [summary[f"{split}/{name}"] for name in tuned], abs=1e-6
        )


def test_evaluate__thresholds_are_fitted_on_the_scored_split_only_when_asked(
    finished_copy: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = finished_copy.read_json("thresholds.json")
    plain = evaluate(wish(finished_copy))
    assert (plain["thresholds_fitted_on"], plain["thresholds_fitted_on_this_split"]) == ("holdout", False)
    assert "had they been fitted on val (optimistic)" in capsys.readouterr().out
    asked = evaluate(wish(finished_copy, fit="val", thresholds=ThresholdsConfig(bags=0)))  # as the run's own
    assert (asked["thresholds_fitted_on"], asked["thresholds_fitted_on_this_split"]) == ("val", True)
    assert "val at thresholds of val itself: optimistic" in capsys.readouterr().out
    assert asked["metrics"]["f1_micro_tuned"] == pytest.approx(plain["optimism"]["f1_micro_fit_here"])
    assert finished_copy.read_json("thresholds.json") == before
    beside = RunFolder(finished_copy.path / "evaluations/val_fit_val")
    assert beside.read_json("thresholds.json")["fitted_on"] == "val"
    assert (
        finished_copy.read_json("evaluation.json")["thresholds_fitted_on"] == "holdout"
    )  # as the run's own thresholds
    assert asked["metrics"]["f1_macro_tuned"] == pytest.approx(plain["optimism"]["f1_macro_fit_here"])


def test_evaluate__thresholds_that_nothing_would_use_are_refused(finished: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"thresholds=.*add fit=holdout"):
        wish(finished, thresholds=ThresholdsConfig(beta=2.0))


def test_evaluate__a_target_out_of_reach_is_said(
    finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ThresholdsConfig(objective="recall_at_precision", target=1.0, shrink=0.0)
    content = evaluate(wish(finished, fit="holdout", thresholds=wanted, output=str(tmp_path)))
    said = capsys.readouterr().out
    assert content["thresholds"]["unreached"]
    assert f"classes in which none did: {content['thresholds']['unreached'][0]}" in said.replace("\n", " ")
    assert f"global threshold {content['thresholds']['global']:.3f}: micro-F1" in said
    assert str(tmp_path / "thresholds.json") in said


def test_evaluate__missing_scores_to_fit_on_are_told_before_anything_is_scored(finished_copy: RunFolder) -> None:
    before = finished_copy.path.joinpath("predictions/val.npz").stat().st_mtime_ns
    with pytest.raises(RunFolderError, match=r"train\.npz: missing; python -m src\.evaluate run=.* split=train"):
        evaluate(wish(finished_copy, fit="train"))
    assert finished_copy.path.joinpath("predictions/val.npz").stat().st_mtime_ns == before


def test_evaluate__thresholds_for_another_objective(finished: RunFolder, tmp_path: Path) -> None:
    found = finished.read_predictions("holdout")
    target = round(1.2 * float(found.targets.mean()), 4)  # a precision that even two steps of training reach somewhere
    wanted = ThresholdsConfig(objective="recall_at_precision", target=target, shrink=0.0)
    evaluate(wish(finished, fit="holdout", thresholds=wanted, output=str(tmp_path)))
    fitted = RunFolder(tmp_path).read_json("thresholds.json")
    decided = found.scores >= np.float32(fitted["global"])
    assert decided.mean() < 1
    assert (decided & (found.targets > 0)).sum() / decided.sum() >= target
    assert fitted["search"] == {"kind": "recall_at_precision", "beta": 1.0, "target": target}


@pytest.mark.parametrize("kind", ["temperature", "platt"])
def test_evaluate__calibration_is_fitted_on_the_holdout(finished: RunFolder, tmp_path: Path, kind: str) -> None:
    content = evaluate(wish(finished, calibrate=kind, output=str(tmp_path), report=True))
    kept = Calibration.from_json(RunFolder(tmp_path).read_json("calibration.json"))
    holdout, val = finished.read_predictions("holdout"), finished.read_predictions("val")
    again = {
        "temperature": lambda: fit_temperature(holdout.scores, holdout.targets),
        "platt": lambda: fit_platt(holdout.scores, holdout.targets, class_names=holdout.class_names),
    }[kind]()
    np.testing.assert_allclose(kept.apply(val.scores), again.apply(val.scores), atol=1e-6)
    assert content["calibration"]["before"]["brier"] == pytest.approx(content["metrics"]["brier"])
    assert content["calibration"]["after"]["brier"] == pytest.approx(brier(again.apply(val.scores), val.targets))
    page = (tmp_path / "report" / "index.html").read_text()
    after = f"{brier(again.apply(val.scores), val.targets):.4f}"
    assert f'<td class="number">{after}</td>' in page
    assert f"fitted on {len(holdout.scores)} images of holdout, gives the second column" in page
    with pytest.raises(ConfigError, match="split=holdout: the calibration is fitted there"):
        evaluate(wish(finished, calibrate=kind, split="holdout", output=str(tmp_path)))


def test_evaluate__report_beside_the_runs_own(finished_copy: RunFolder, coco_folder: Path) -> None:
    own = (finished_copy.path / "report/index.html").read_bytes()
    evaluate(wish(finished_copy, split="holdout", report=True))
    assert "holdout" in (finished_copy.path / "report/index_holdout.html").read_text()
    evaluate(wish(finished_copy, data={"root": str(coco_folder)}, report=True))
    assert "coco_val" in (finished_copy.path / "evaluations/coco_val/report/index.html").read_text()
    assert (finished_copy.path / "report/index.html").read_bytes() == own


def test_evaluate__splits_of_a_run_do_not_overlap(finished: RunFolder, tmp_path: Path) -> None:
    evaluate(wish(finished, split="train", output=str(tmp_path)))
    train = set(RunFolder(tmp_path).read_predictions("train").image_ids.tolist())
    assert len(train | set(finished.read_predictions("holdout").image_ids.tolist())) == 160


def test_evaluate__writes_into_the_run_by_default(finished_copy: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(wish("latest", output_dir=str(finished_copy.path.parent)))
    assert finished_copy.read_json("evaluation.json")["split"] == "val"
    assert str(finished_copy.path / "predictions/val.npz") in capsys.readouterr().out


def test_evaluate__last_checkpoint(finished_copy: RunFolder, tmp_path: Path) -> None:
    """last.ckpt with the weights of best.ckpt, less 1 in every bias, scores lower on each class."""
    content = torch.load(finished_copy.last, weights_only=True)
    content["state_dict"] = torch.load(finished_copy.best, weights_only=True)["state_dict"]
    content["state_dict"]["model.network.classifier.1.bias"] -= 1
    torch.save(content, finished_copy.last)
    evaluate(wish(finished_copy, checkpoint="last", output=str(tmp_path / "out")))
    scores = RunFolder(tmp_path / "out").read_predictions("val").scores
    best = finished_copy.read_predictions("val").scores
    np.testing.assert_allclose(np.log(scores / (1 - scores)), np.log(best / (1 - best)) - 1, atol=1e-4)


def test_evaluate__other_folder_matches_classes_by_name(
    finished_copy: RunFolder, coco_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same images, classes in another order, one unknown: the same scores, and targets in the model's order."""
    own = finished_copy.read_predictions("val")
    absent = own.class_names[4]
    relabel(coco_folder, "val", without=absent)
    content = evaluate(wish(finished_copy, data={"root": str(coco_folder)}))
    target = RunFolder(finished_copy.path / "evaluations/coco_val")
    found = target.read_predictions("val")
    assert found.class_names == own.class_names
    np.testing.assert_array_equal(found.image_ids, own.image_ids)
    np.testing.assert_allclose(found.scores, own.scores, atol=1e-6)
    expected_targets = own.targets.copy()
    assert expected_targets[:, 4].any()
    expected_targets[:, 4] = 0
    np.testing.assert_array_equal(found.targets, expected_targets)
    expected = reference_scores(found)
    assert {name: content["metrics"][name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert content["absent_classes"] == [absent]
    assert f"left out of macro means: {absent}" in capsys.readouterr().out
    assert content["thresholds_fitted_on_this_split"] is False
    assert target.read_json("evaluation.json") == content


def test_evaluate__other_folder_by_file_names(finished: RunFolder, coco_folder: Path, tmp_path: Path) -> None:
    (coco_folder / "annotations/instances_val2017.json").rename(coco_folder / "labels.json")
    (coco_folder / "val2017").rename(coco_folder / "photos")
    data = {"root": str(coco_folder), "annotations": "labels.json", "images": "photos"}
    assert evaluate(wish(finished, data=data, output=str(tmp_path / "out")))["num_images"] == 48


def test_evaluate__broken_images_can_be_skipped(finished: RunFolder, coco_folder: Path, tmp_path: Path) -> None:
    broken = sorted((coco_folder / "val2017").iterdir())[0]
    broken.write_bytes(b"")
    data = {"root": str(coco_folder)}
    with pytest.raises(ImageError, match=broken.name):
        evaluate(wish(finished, data=data, output=str(tmp_path / "out")))
    content = evaluate(wish(finished, data={**data, "on_error": "skip"}, output=str(tmp_path / "out")))
    assert content["num_images"] == 47
    assert int(broken.stem) not in RunFolder(tmp_path / "out").read_predictions("val").image_ids


def test_evaluate__mistakes_are_named(finished_copy: RunFolder, coco_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="nowhere: no such folder"):
        evaluate(wish(str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"split=holdout: that is a part of the run's own train"):
        evaluate(wish(finished_copy, split="holdout", data={"root": str(coco_folder)}))
    with pytest.raises(DataError, match=r"data\.root: no .*instances_val2017\.json"):
        evaluate(wish(finished_copy, data={"root": str(tmp_path)}))
    table = json.loads((coco_folder / "annotations/instances_val2017.json").read_text())
    for category in table["categories"]:
        category["name"] += " of another kind"
    (coco_folder / "strange.json").write_text(json.dumps(table))
    with pytest.raises(DataError, match="has none of the model's classes"):
        evaluate(wish(finished_copy, data={"root": str(coco_folder), "annotations": "strange.json"}))


def test_evaluate__run_without_a_holdout(finished_copy: RunFolder) -> None:
    path = finished_copy.path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["data"]["holdout"] = 0.0
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="split=holdout: this run had none"):
        evaluate(wish(finished_copy, split="holdout"))


def test_evaluate__run_that_did_not_get_far(finished_copy: RunFolder) -> None:
    (finished_copy.path / "thresholds.json").unlink()
    with pytest.raises(RunFolderError, match=r"thresholds\.json: missing; the run did not get that far"):
        evaluate(wish(finished_copy))
    finished_copy.best.unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint"):
        evaluate(wish(finished_copy))
