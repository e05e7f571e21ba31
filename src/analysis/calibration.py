"""Do scores mean what they say: of all answers scored 0.7, are 70 % right? And corrections for when they do not.

What is measured is the probability of each (image, class) pair, not the confidence of a top answer as with one label
per image. Corrections act on the logit and keep the order of a class's scores:

    temperature: p' = sigmoid(z / T)                  Guo et al., On Calibration of Modern Neural Networks, ICML 2017
    Platt, per class: p'_c = sigmoid(a_c z + b_c)     Platt, Probabilistic Outputs for Support Vector Machines, 1999

Fit them on the holdout and score them on val: a calibration fitted where it is scored is perfect by construction.

Shapes: N images, C classes, K columns fitted side by side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.decision_metrics import Floats, check_probabilities
from src.analysis.logistic import fit_logistic, sigmoid
from src.config.schema.errors import UserError

DEFAULT_BINS = 15
# Of 0.1, 1, 3, 10, 30, 100 and one line for all, 10 came within 0.016 of the best log loss per image on fresh images
# (about 3.7) in each of six simulations: COCO's val frequencies, 500, 2,000 and 5,000 images to fit on, slopes and
# offsets of standard deviation 0.1 and 0.3, or 0.2 and 0.7, about the common ones; 4 seeds each.
DEFAULT_SHRINK = 10.0
LOWEST, HIGHEST = 1e-12, 1 - 2.0**-24
"""Scores are clipped to these before the logit, -27.6 to 16.6: the highest float32 below 1, and near where float32
logits end in practice. Scores beyond them become equal."""


class CalibrationError(UserError):
    """A calibration does not belong to these classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A fitted correction of scores: p' = sigmoid(slope * logit(p) + offset).

    Attributes:
        kind: ``temperature`` (one slope for all classes, no offset) or ``platt``.
        slope: float64 [C], or [1] for a temperature; positive.
        offset: as slope.
        class_names: names in the order of ``slope``; empty for a temperature, which fits any classes.
        fitted_on: split whose images it was fitted on.
        num_images: images it was fitted on.
    """

    kind: str
    slope: Floats
    offset: Floats
    class_names: tuple[str, ...]
    fitted_on: str
    num_images: int

    def apply(self, scores_NC: NDArray[np.floating]) -> NDArray[np.float32]:
        """Corrected probabilities, float32 [N, C] as all scores are; thresholds must be fitted anew to them.

        Raises:
            CalibrationError: another number of classes than it was fitted to.
        """
        if self.class_names and scores_NC.shape[1] != len(self.class_names):
            raise CalibrationError(f"calibration of {len(self.class_names)} classes, scores of {scores_NC.shape[1]}")
        return sigmoid(self.slope * logit(scores_NC) + self.offset).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain dict; floats survive JSON exactly."""
        about = {"kind": self.kind, "fitted_on": self.fitted_on, "num_images": self.num_images}
        if self.kind == "temperature":
            return about | {"slope": float(self.slope[0])}
        pairs = zip(self.slope.tolist(), self.offset.tolist(), strict=True)
        by_name = dict(zip(self.class_names, pairs, strict=True))
        return about | {"classes": {name: {"slope": a, "offset": b} for name, (a, b) in by_name.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, class_names: Sequence[str] | None = None) -> "Calibration":
        """Read ``to_json``'s dict.

        Args:
            data: as written.
            class_names: order wanted, the model's; None keeps the file's.

        Raises:
            CalibrationError: an unknown kind, a class missing or unknown, or a slope that is not positive.
        """
        kind = data.get("kind")
        names: tuple[str, ...]
        if kind not in ("temperature", "platt"):
            raise CalibrationError(f"calibration kind={kind!r}: expected temperature or platt; fit it again")
        if kind == "temperature":
            rows, names = [(float(data["slope"]), 0.0)], ()
        else:
            names = tuple(data["classes"] if class_names is None else class_names)
            if strange := sorted(set(names) ^ set(data["classes"])):
                raise CalibrationError(f"calibration and model differ in the classes {', '.join(strange)}")
            rows = [(line["slope"], line["offset"]) for line in (data["classes"][name] for name in names)]
        slope, offset = np.array(rows, dtype=np.float64).T
        if not ((slope > 0) & np.isfinite(slope) & np.isfinite(offset)).all():
            raise CalibrationError("a calibration slope is not positive, or a number is not finite: fit it again")
        return cls(kind, slope, offset, names, data["fitted_on"], data["num_images"])


def logit(scores: NDArray[np.floating]) -> Floats:
    """log(p / (1 - p)) in float64, of probabilities clipped to [1e-12, 1 - 2^-24]."""
    clipped = np.clip(scores.astype(np.float64), LOWEST, HIGHEST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def reliability(scores: NDArray[np.floating], targets: NDArray[Any], *, bins: int = DEFAULT_BINS) -> pd.DataFrame:
    """Reliability curve over all answers pooled, in bins of equal width (low, high], the first with 0.

    Args:
        scores: probabilities, any shape.
        targets: 0 or 1, same shape.
        bins: how many.

    Returns:
        Columns ``bin_low``, ``bin_high``, ``count`` (answers), ``mean_score``, ``frequency`` (share that is right); the
        last two are nan in an empty bin.
    """
    scores_M, targets_M = scores.ravel(), targets.ravel()
    check_probabilities(scores_M[:, None], targets_M[:, None])
    count_BC, score_BC, hits_BC = _bin(scores_M[:, None], targets_M[:, None], bins)
    edges = np.linspace(0, 1, bins + 1)
    known = np.where(count_BC[:, 0] > 0, count_BC[:, 0], np.nan)
    return pd.DataFrame(
        {
            "bin_low": edges[:-1],
            "bin_high": edges[1:],
            "count": count_BC[:, 0].astype(np.int64),
            "mean_score": score_BC[:, 0] / known,
            "frequency": hits_BC[:, 0] / known,
        }
    )


def ece(scores: NDArray[np.floating], targets: NDArray[Any], *, bins: int = DEFAULT_BINS) -> float:
    """Expected calibration error over all answers pooled: sum_b n_b / n |frequency_b - mean score_b|.

    Most answers are easy negatives, so that it is small for any sensible model; see ``classwise_ece``.

    Args:
        scores: probabilities, any shape.
        targets: 0 or 1, same shape.
        bins: of equal width.
    """
    scores_M, targets_M = scores.ravel()[:, None], targets.ravel()[:, None]
    return float(classwise_ece(scores_M, targets_M, bins=bins)[0])


def classwise_ece(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], *, bins: int = DEFAULT_BINS) -> Floats:
    """``ece`` of each class, [C]; its mean is the class-wise ECE of Kull et al. (Dirichlet Calibration, NeurIPS 2019).

    Args:
        scores_NC: probabilities.
        targets_NC: multi-hot.
        bins: of equal width.
    """
    check_probabilities(scores_NC, targets_NC)
    _, score_BC, hits_BC = _bin(scores_NC, targets_NC, bins)
    return np.asarray(np.abs(hits_BC - score_BC).sum(axis=0) / len(scores_NC))


def brier(scores: NDArray[np.floating], targets: NDArray[Any]) -> float:
    """Mean of (p - y)^2 over all answers (Brier, 1950); always answering the frequency f scores f (1 - f)."""
    check_probabilities(scores.ravel()[:, None], targets.ravel()[:, None])
    return float(np.mean((scores.astype(np.float64) - targets) ** 2))


def fit_temperature(
    scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], *, fitted_on: str = "holdout"
) -> Calibration:
    """One temperature for all classes: the slope 1 / T of lowest log loss.

    Half of (slope - 1)^2 is added to the summed log loss, nothing beside thousands of answers, so that perfectly
    separated ones have a finite temperature.

    Args:
        scores_NC: probabilities.
        targets_NC: multi-hot.
        fitted_on: split they belong to.

    Raises:
        ScoringError: shapes differ, or scores are no probabilities.
    """
    check_probabilities(scores_NC, targets_NC)
    slope, offset = fit_logistic(
        logit(scores_NC).reshape(-1, 1), targets_NC.reshape(-1, 1), prior=(1.0, 0.0), strength=1.0, fit_offset=False
    )
    return Calibration("temperature", slope, offset, (), fitted_on, len(scores_NC))


def fit_platt(
    scores_NC: NDArray[np.floating],
    targets_NC: NDArray[Any],
    *,
    class_names: Sequence[str],
    shrink: float = DEFAULT_SHRINK,
    fitted_on: str = "holdout",
) -> Calibration:
    """Slope and offset per class, rare classes pulled to those of all classes pooled.

        minimise over (a_c, b_c):  log loss of class c + shrink / 2 ((a_c - a)^2 + (b_c - b)^2)

    with (a, b) fitted to all answers pooled. The log loss of a class weighs about as its positives, so the pull gives
    way with support, and a class without a positive has a finite fit near (a, b): its offset falls only as far as the
    pull lets the scores claim positives that did not come.

    Args:
        scores_NC: probabilities.
        targets_NC: multi-hot.
        class_names: names, [C].
        shrink: strength of the pull, > 0: (1 / standard deviation)^2 of the classes about the pooled fit.
        fitted_on: split they belong to.

    Raises:
        ScoringError: shapes differ, or scores are no probabilities.
        CalibrationError: names do not match, or shrink is not positive.
    """
    check_probabilities(scores_NC, targets_NC)
    if len(set(class_names)) != scores_NC.shape[1]:
        raise CalibrationError(f"{len(set(class_names))} different class names for {scores_NC.shape[1]} classes")
    if not shrink > 0:
        raise CalibrationError(f"shrink={shrink:g}: must be > 0, or a class without a positive has no finite fit")
    logits_NC = logit(scores_NC)
    (slope,), (offset,) = fit_logistic(
        logits_NC.reshape(-1, 1), targets_NC.reshape(-1, 1), prior=(1.0, 0.0), strength=1.0
    )
    slope_C, offset_C = fit_logistic(logits_NC, targets_NC, prior=(slope, offset), strength=shrink)
    return Calibration("platt", slope_C, offset_C, tuple(class_names), fitted_on, len(scores_NC))


def _bin(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], bins: int) -> tuple[Floats, Floats, Floats]:
    """Per bin and class: answers, sum of their scores, and how many are right; each [bins, C]."""
    classes = scores_NC.shape[1]
    values_NC = scores_NC.astype(np.float64)
    bin_NC = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], values_NC)
    cell_M = (bin_NC * classes + np.arange(classes)).ravel()

    def summed(weights_M: NDArray[Any] | None) -> Floats:
        return np.bincount(cell_M, weights_M, minlength=bins * classes).astype(np.float64).reshape(bins, classes)

    return summed(None), summed(values_NC.ravel()), summed(targets_NC.ravel())
