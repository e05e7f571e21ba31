"""The worst mistakes: where a score lies furthest on the wrong side of its class's threshold."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ErrorKind = Literal["false_negative", "false_positive"]


def worst_errors(
    scores_NC: NDArray[np.floating],
    targets_NC: NDArray[Any],
    thresholds_C: NDArray[np.floating],
    class_names: Sequence[str],
    *,
    kind: ErrorKind = "false_negative",
    limit: int = 24,
    per_class: int = 3,
) -> pd.DataFrame:
    """Rank the mistakes of one kind by how far the score s lies beyond the threshold t.

    The distance is a share of what is possible,

        margin = (t - s) / t  for a class missed,      margin = (s - t) / (1 - t)  for a class named wrongly,

    so that classes with low and with high thresholds compare. A class takes at most ``per_class`` places, or a single
    bad one would fill the page.

    Args:
        scores_NC: probabilities.
        targets_NC: multi-hot.
        thresholds_C: one threshold per class.
        class_names: the C names.
        kind: ``false_negative`` (has the class, score below t) or ``false_positive`` (has it not, score at least t).
        limit: most rows.
        per_class: most rows of one class.

    Returns:
        Worst first: ``row`` (of the scores), ``class_idx``, ``class_name``, ``score``, ``threshold``, ``margin``.
    """
    scores_NC, truth_NC = np.asarray(scores_NC, dtype=np.float32), np.asarray(targets_NC, dtype=bool)
    cuts_C = np.asarray(thresholds_C, dtype=np.float32)
    predicted_NC = scores_NC >= cuts_C
    missed = kind == "false_negative"
    row_E, class_E = np.nonzero(truth_NC & ~predicted_NC if missed else predicted_NC & ~truth_NC)
    score_E, cut_E = scores_NC[row_E, class_E].astype(np.float64), cuts_C[class_E].astype(np.float64)
    beyond_E, possible_E = (cut_E - score_E, cut_E) if missed else (score_E - cut_E, 1 - cut_E)
    margin_E = np.divide(beyond_E, possible_E, out=np.zeros_like(score_E), where=possible_E > 0)
    table = pd.DataFrame(
        {
            "row": row_E,
            "class_idx": class_E,
            "class_name": np.array(list(class_names), dtype=object)[class_E],
            "score": score_E,
            "threshold": cut_E,
            "margin": margin_E,
        }
    ).sort_values(["margin", "row", "class_idx"], ascending=[False, True, True])
    return table[table.groupby("class_idx").cumcount() < per_class].head(limit).reset_index(drop=True)
