"""From a run folder and its scores to a page, with pictures from disk."""

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from src.analysis.judgement import Judgement, judge
from src.analysis.thresholds import Thresholds, fit_thresholds
from src.run.reporting import gallery, write_report
from src.runfolder import Predictions, RunFolder

NAMES = ("cat", "dog", "tie")
IMAGES = 30
BROKEN, MISSING = 101, 104


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    rng = np.random.default_rng(0)
    targets = (rng.random((IMAGES, 3)) < 0.4).astype(np.uint8)
    scores = np.clip(0.3 * targets + 0.7 * rng.random((IMAGES, 3)), 0, 1).astype(np.float32)
    # Two images that are in every gallery, since every decision is wrong.
    for image_id in (BROKEN, MISSING):
        scores[image_id - 100] = np.where(targets[image_id - 100], 0.001, 0.999)
    return Predictions(scores, targets, np.arange(100, 100 + IMAGES), NAMES)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One grey picture per image, of its own brightness; one cut short, one not there."""
    folder = tmp_path_factory.mktemp("images")
    for position in range(IMAGES):
        assert cv2.imwrite(str(folder / f"{100 + position}.png"), np.full((240, 320, 3), 4 * position, np.uint8))
    whole = (folder / f"{BROKEN}.png").read_bytes()
    (folder / f"{BROKEN}.png").write_bytes(whole[:-20])
    (folder / f"{MISSING}.png").unlink()
    return folder


@pytest.fixture(scope="module")
def thresholds(predictions: Predictions) -> Thresholds:
    return fit_thresholds(predictions.scores, predictions.targets, class_names=NAMES, fitted_on="holdout")


@pytest.fixture(scope="module")
def judgement(predictions: Predictions, thresholds: Thresholds) -> Judgement:
    return judge(
        predictions.scores,
        predictions.targets,
        class_names=NAMES,
        global_threshold=thresholds.global_,
        class_thresholds_C=thresholds.per_class,
        resamples=10,
    )


def test_gallery__pictures_belong_to_their_images(
    predictions: Predictions, thresholds: Thresholds, images: Path
) -> None:
    items = gallery(predictions, thresholds, lambda image_id: images / f"{image_id}.png", max_pixels=10**6)
    assert {item.kind for item in items} == {"false_negative", "false_positive"}
    for item in items:
        row = item.image_id - 100
        assert (item.class_name in item.true_classes) == (item.kind == "false_negative")
        assert (item.class_name in item.predicted_classes) == (item.kind == "false_positive")
        assert item.true_classes == tuple(np.array(NAMES)[predictions.targets[row] == 1])
        assert item.score == pytest.approx(float(predictions.scores[row, NAMES.index(item.class_name)]))
        if item.image_id not in (BROKEN, MISSING):
            assert item.jpeg is not None
            picture = cv2.imdecode(np.frombuffer(item.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == (120, 160, 3)
            assert picture.mean() == pytest.approx(4 * row, abs=1)


def test_gallery__images_that_cannot_be_read_say_why(
    predictions: Predictions, thresholds: Thresholds, images: Path
) -> None:
    items = gallery(predictions, thresholds, lambda image_id: images / f"{image_id}.png", max_pixels=10**6)
    reasons = {item.image_id: item.reason for item in items if item.jpeg is None}
    assert set(reasons) == {BROKEN, MISSING}
    assert "ends early" in reasons[BROKEN]
    assert "no such file" in reasons[MISSING]
    small = gallery(predictions, thresholds, lambda image_id: images / f"{image_id}.png", max_pixels=100)
    assert all(item.jpeg is None for item in small)


def test_write_report__one_file_with_what_the_run_folder_knows(
    predictions: Predictions, thresholds: Thresholds, judgement: Judgement, images: Path, tmp_path: Path
) -> None:
    run, target = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run" / "evaluations" / "other_val")
    run.path.mkdir()
    (run.path / "config.yaml").write_text(yaml.safe_dump({"name": "first", "data": {"max_pixels": 10**6}}))
    run.write_json("summary.json", {"best_epoch": 3, "status": "finished"})
    run.write_records([{"epoch": 0, "lr": 0.1, "train/loss": 0.5}])
    path = write_report(
        target,
        split="other_val",
        predictions=predictions,
        thresholds=thresholds,
        judgement=judgement,
        train_targets=None,
        image_path=lambda image_id: images / f"{image_id}.png",
        run=run,
    )
    assert path == target.path / "report" / "index.html"
    assert [found.name for found in path.parent.iterdir()] == ["index.html"]
    text = path.read_text(encoding="utf-8")
    assert "<title>first on other_val</title>" in text
    assert "weights of epoch 4" in text
    assert "data.max_pixels" in text
    assert "had no part in fitting them" in text
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', text)
    assert pictures
    assert all(base64.b64decode(picture).startswith(b"\xff\xd8") for picture in pictures)


def test_write_report__bare_folder_and_the_fitting_split_itself(
    predictions: Predictions, thresholds: Thresholds, judgement: Judgement, images: Path, tmp_path: Path
) -> None:
    path = write_report(
        RunFolder(tmp_path),
        split="holdout",
        predictions=predictions,
        thresholds=thresholds,
        judgement=judgement,
        train_targets=predictions.targets,
        image_path=lambda image_id: images / "nothing.png",
    )
    text = path.read_text(encoding="utf-8")
    assert "Optimistic: the thresholds were fitted on the 30 images" in text
    assert "no such file" in text
    assert "not recorded" in text
