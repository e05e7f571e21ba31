"""Which classes come together, and what in the labels should make a reader look twice."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RARE = 10
"""Positives below which neither a threshold nor an average precision of a class says much."""


def cooccurrence(targets_NC: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Images that have both classes: [C, C], symmetric, the count of each class on the diagonal.

    >>> cooccurrence(np.array([[1, 1], [1, 0]], dtype=np.uint8))
    array([[2, 1],
           [1, 1]])
    """
    exact = targets_NC.astype(np.float64)  # integers have no BLAS; float64 counts exactly up to 2^53
    return (exact.T @ exact).round().astype(np.int64)


def conditional(counts_CC: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(j | i) = count(i, j) / count(i): row i is given; rows of absent classes are nan.

    Args:
        counts_CC: from :func:`cooccurrence`.
    """
    given_C = np.diag(counts_CC)[:, None]
    share_CC: NDArray[np.float64] = np.full(counts_CC.shape, np.nan)
    np.divide(counts_CC, given_C, out=share_CC, where=given_C > 0)
    return share_CC


def label_health(targets_NC: NDArray[np.uint8], class_names: Sequence[str]) -> dict[str, str]:
    """What is odd about the labels: name of the finding and one sentence; empty where nothing is.

    Args:
        targets_NC: multi-hot, [N, C].
        class_names: the C names.

    Returns:
        Any of ``absent`` (no positive), ``rare`` (fewer than ten), ``universal`` (in every image: nothing to learn),
        ``twins`` (two classes always together, often one class under two names), ``empty`` (images without a class),
        ``uniform`` (more than half of the images share one set of classes).
    """
    counts_C = targets_NC.sum(axis=0, dtype=np.int64)
    images = len(targets_NC)
    empty = int((~targets_NC.any(axis=1)).sum())
    findings = {
        "absent": _classes("no image has", class_names, counts_C == 0),
        "rare": _classes(f"fewer than {RARE} images have", class_names, (counts_C > 0) & (counts_C < RARE)),
        "universal": _classes("every image has", class_names, counts_C == images),
        "twins": _twins(targets_NC, class_names),
        "empty": f"{empty:,} of {images:,} images ({empty / images:.1%}) have no class" if empty else "",
        "uniform": _uniform(targets_NC, class_names),
    }
    return {name: sentence for name, sentence in findings.items() if sentence}


def _classes(what: str, class_names: Sequence[str], chosen_C: NDArray[np.bool_]) -> str:
    names = [class_names[c] for c in np.flatnonzero(chosen_C).tolist()]
    return f"{what} {', '.join(names)}" if names else ""


def _twins(targets_NC: NDArray[np.uint8], class_names: Sequence[str]) -> str:
    counts_CC = cooccurrence(targets_NC)
    counts_C = np.diag(counts_CC)
    same_CC = (counts_CC == counts_C[:, None]) & (counts_CC == counts_C[None, :]) & (counts_C[:, None] > 0)
    pairs = np.argwhere(np.triu(same_CC, k=1)).tolist()
    together = "; ".join(f"{class_names[i]} and {class_names[j]}" for i, j in pairs)
    return f"always together: {together}" if together else ""


def _uniform(targets_NC: NDArray[np.uint8], class_names: Sequence[str]) -> str:
    sets, counts = np.unique(np.packbits(targets_NC, axis=1), axis=0, return_counts=True)
    most = int(np.argmax(counts))
    if 2 * counts[most] <= len(targets_NC):
        return ""
    classes = np.unpackbits(sets[most], count=targets_NC.shape[1])
    names = ", ".join(class_names[c] for c in np.flatnonzero(classes).tolist()) or "none"
    return f"{counts[most]:,} of {len(targets_NC):,} images have the same classes: {names}"
