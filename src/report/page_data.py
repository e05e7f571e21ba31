"""The numbers that the page's script computes with: counts on a grid, so that their size does not grow with N."""

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.analysis.curves import GRID, counts_at, threshold_counts
from src.report.page_input import ReportInput


def page_data(report: ReportInput) -> str:
    """JSON for a ``<script type="application/json">`` element.

    ``tp`` and ``fp`` hold rows of C counts: at k / grid for k = 0..grid, then at the fitted global threshold, then at
    the fitted thresholds of the classes; so that these two are exact although they lie between grid points.
    """
    counts = threshold_counts(report.scores, report.targets)
    fitted = report.thresholds
    extra = [counts_at(report.scores, report.targets, cut) for cut in (fitted.global_, fitted.per_class)]
    width = 2 if counts.num_images < 2**16 else 4
    content: dict[str, Any] = {
        "classes": list(report.class_names),
        "positives": counts.positives_C.tolist(),
        "images": counts.num_images,
        "grid": GRID,
        "bytes": width,
        "tp": _packed(np.vstack([counts.tp_KC, *(tp_C for tp_C, _ in extra)]), width),
        "fp": _packed(np.vstack([counts.fp_KC, *(fp_C for _, fp_C in extra)]), width),
        "globalThreshold": fitted.global_,
        "classThresholds": fitted.per_class.tolist(),
    }
    # A class may be called "</script>": no "<" stands in the text.
    return json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _packed(counts_KC: NDArray[np.int64], width: int) -> str:
    """Base64 of little-endian unsigned integers, row by row."""
    return base64.b64encode(counts_KC.astype(f"<u{width}").tobytes()).decode("ascii")
