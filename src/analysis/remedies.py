"""From how classes score to what is worth a try: rules of thumb, each with the number that called for it."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.imbalance import GROUP_NAMES

WIDE = 0.1
"""Difference of two means over a third of the classes that calls for something."""
UNEVEN = 10.0
"""Images of the most over the least frequent class below which imbalance is mild."""


def group_scores(per_class: pd.DataFrame, train_counts_C: NDArray[np.int64]) -> pd.DataFrame:
    """Means over head, mid and tail.

    Args:
        per_class: of a ``Judgement``, with its ``group``.
        train_counts_C: training images of each class.

    Returns:
        One row per group: ``group``, ``classes``, ``train_images`` (median), ``ap``, ``f1`` (at fitted thresholds),
        ``f1_at_half``; the scores over the classes with support.
    """
    table = per_class.assign(train_images=train_counts_C)
    rows = [
        {
            "group": name,
            "classes": len(part),
            "train_images": float(part["train_images"].median()),
            **{score: float(part[score].mean()) for score in ("ap", "f1", "f1_at_half")},
        }
        for name in GROUP_NAMES
        if len(part := table[table["group"] == name])
    ]
    return pd.DataFrame(rows)


def remedies(scores: pd.DataFrame, *, imbalance_ratio: float) -> pd.DataFrame:
    """What to try, most telling first; nothing here is a promise, ``src.compare`` says whether it helped.

    Args:
        scores: of :func:`group_scores`.
        imbalance_ratio: images of the most over the least frequent class in train.

    Returns:
        ``change`` (overrides for ``src.train``; empty where no training is needed) and ``because``.
    """
    by_group = scores.set_index("group")
    head, tail = by_group.loc["head"], by_group.loc["tail"] if "tail" in by_group.index else by_group.iloc[-1]
    found: list[tuple[str, str]] = []
    if tail["f1"] - tail["f1_at_half"] > WIDE:
        gain = f"F1 of the tail is {tail['f1_at_half']:.2f} at 0.5 and {tail['f1']:.2f} at fitted thresholds"
        found.append(("", f"{gain}: decide on thresholds first, notebook 02"))
    if head["ap"] - tail["ap"] > WIDE:
        gap = f"AP of the tail is {tail['ap']:.2f}, of the head {head['ap']:.2f}: rare classes rank worse"
        found += [
            ("data.sampler=repeat_factor", f"{gap}; shows their images more often"),
            ("loss=asl", f"{gap}; takes weight from the many easy negatives"),
            ("loss=bce loss.pos_weight=effective", f"{gap}; weighs their positives more"),
        ]
    if not found and imbalance_ratio < UNEVEN:
        found.append(
            ("", f"most : least frequent class is {imbalance_ratio:.0f} : 1: imbalance is not what holds back")
        )
    if not found:
        found.append(("", f"head and tail are within {WIDE} of each other: what is left is the same for all classes"))
    return pd.DataFrame(found, columns=["change", "because"])
