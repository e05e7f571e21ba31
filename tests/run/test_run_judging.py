"""What is said of scores beside the scores."""

import numpy as np
import pytest
from numpy.typing import NDArray

from src.analysis.judgement import constant_notes, judge, own_threshold_notes, threshold_note
from src.config.schema.thresholds import ThresholdsConfig
from src.run.judging import Verdict, fit, verdict
from src.runfolder import Predictions

IMAGES, CLASSES = 400, 6


def judged(signal: float) -> Verdict:
    """Scores that follow the targets by ``signal`` deviations of their noise."""
    random = np.random.default_rng(0)
    share_C = np.linspace(0.5, 0.05, CLASSES)
    targets_NC = (random.random((IMAGES, CLASSES)) < share_C).astype(np.uint8)
    logits_NC = np.log(share_C / (1 - share_C)) + 0.1 * (random.normal(size=targets_NC.shape) + signal * targets_NC)
    scores_NC: NDArray[np.float32] = (1 / (1 + np.exp(-logits_NC))).astype(np.float32)
    found = Predictions(image_ids=np.arange(IMAGES), scores=scores_NC, targets=targets_NC, class_names=tuple("abcdef"))
    thresholds = fit(found, ThresholdsConfig(), fitted_on="holdout", seed=0)
    return verdict(found, thresholds, fitted_here=False, train_targets=None, resamples=200)


def test_constant_notes__scores_that_do_not_look_at_the_image_are_called_that() -> None:
    given = judged(signal=0.0)
    (note,) = constant_notes(given.judgement)
    constant = given.judgement.baselines
    assert f"no better than naming the {constant.best_k} most frequent classes" in note
    assert f"{given.metrics['f1_micro_tuned']:.3f} [" in note
    assert f"against {constant.best_f1_micro:.3f}; nothing is learnt yet" in note
    assert given.to_json()["notes"] == [note]


@pytest.mark.parametrize("signal", [2.0, 6.0])
def test_constant_notes__nothing_of_scores_that_do(signal: float) -> None:
    assert constant_notes(judged(signal).judgement) == []


@pytest.mark.parametrize("own", [0.0, 0.5])
def test_own_threshold_notes__labels_that_name_rare_classes_everywhere(own: float) -> None:
    """Thresholds of 0 for the five rarer classes: every image is said to have them; at 0.5 every label is right."""
    random = np.random.default_rng(0)
    targets_NC = (random.random((IMAGES, CLASSES)) < np.array([0.6, *[0.05] * 5])).astype(np.uint8)
    scores_NC = np.where(targets_NC, 0.8, 0.2).astype(np.float32)
    judged = judge(
        scores_NC,
        targets_NC,
        class_names="abcdef",
        global_threshold=0.5,
        class_thresholds_C=np.array([0.5, *[own] * 5]),
        resamples=20,
    )
    found = own_threshold_notes(judged)
    assert constant_notes(judged) == []
    assert "global threshold 0.500: micro-F1 1.000, precision 1.000, recall 1.000; each class's" in threshold_note(
        judged
    )
    if own == 0.5:
        assert found == []
        return
    (note,) = found
    predicted = int(targets_NC[:, 0].sum()) + 5 * IMAGES
    f1_micro = 2 * int(targets_NC.sum()) / (predicted + int(targets_NC.sum()))
    assert f"micro-F1 {f1_micro:.3f} against {judged.baselines.best_f1_micro:.3f}; 1.000 at the global one" in note
    assert f"own: micro-F1 {f1_micro:.3f}, precision" in threshold_note(judged)
