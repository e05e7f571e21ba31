"""Thresholds for different purposes beside one another, so that someone can decide between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.decision_metrics import decision_metrics
from src.analysis.decisions import by_threshold
from src.analysis.threshold_search import DEFAULT_THRESHOLD, Objective
from src.analysis.thresholds import MODES, Thresholds, fit_thresholds

PURPOSES = {
    "F1": Objective(),
    "F2": Objective(beta=2.0),
    "recall 0.8": Objective(kind="precision_at_recall", target=0.8),
    "precision 0.8": Objective(kind="recall_at_precision", target=0.8),
}
"""F2 counts recall double; the last two reach that recall or precision and then maximise the other."""


def fixed_thresholds(value: float, class_names: Sequence[str]) -> Thresholds:
    """The same threshold for every class, fitted to nothing."""
    per_class = np.full(len(class_names), value)
    return Thresholds(value, per_class, tuple(class_names), fitted_on="nothing", objective="fixed", num_images=0)


def threshold_choices(
    scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], *, class_names: Sequence[str], fitted_on: str
) -> dict[str, Thresholds]:
    """Thresholds by purpose: ``0.5`` and those of ``PURPOSES``.

    Args:
        scores_NC: probabilities of images that are neither trained on nor reported on.
        targets_NC: multi-hot.
        class_names: the C names.
        fitted_on: what those images are called.

    Raises:
        ThresholdError: see ``fit_thresholds``.
    """
    fitted = {
        name: fit_thresholds(scores_NC, targets_NC, class_names=class_names, objective=purpose, fitted_on=fitted_on)
        for name, purpose in PURPOSES.items()
    }
    return {str(DEFAULT_THRESHOLD): fixed_thresholds(DEFAULT_THRESHOLD, class_names), **fitted}


def choice_table(
    choices: Mapping[str, Thresholds], scores_NC: NDArray[np.floating], targets_NC: NDArray[Any]
) -> pd.DataFrame:
    """What each choice does to other images.

    Args:
        choices: by name.
        scores_NC: probabilities of images that none of them was fitted on.
        targets_NC: multi-hot.

    Returns:
        One row per choice and mode (``global``, ``per_class``): ``choice``, ``mode``, ``precision_micro``,
        ``recall_micro``, ``f1_micro``, ``precision_macro``, ``recall_macro``, ``f1_macro``, ``named`` (classes named
        per image). Choosing the best row here would be fitting on these images: choose by purpose.
    """
    rows = []
    for name, thresholds in choices.items():
        for mode in MODES:
            decided_NC = by_threshold(scores_NC, thresholds.at(mode))
            found = decision_metrics(decided_NC, targets_NC)
            micro = {"precision_micro": found["op"], "recall_micro": found["or"], "f1_micro": found["f1_micro"]}
            macro = {"precision_macro": found["cp"], "recall_macro": found["cr"], "f1_macro": found["f1_macro"]}
            named = {"named": float(decided_NC.sum(axis=1).mean())}
            rows.append({"choice": name, "mode": mode, **micro, **macro, **named})
    return pd.DataFrame(rows)
