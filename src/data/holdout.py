"""A holdout that looks like the rest: iterative stratification of multi-label data.

Sechidis, Tsoumakas and Vlahavas, On the Stratification of Multi-Label Data, ECML PKDD 2011, algorithm 1. The rarest
class goes first, because common classes can still be balanced afterwards with the many images that are left.
"""

import numpy as np
from numpy.typing import NDArray


def holdout_split(
    targets_NC: NDArray[np.uint8], *, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split images into train and holdout with nearly the same share of every class.

    A class with at least 1 / fraction positives has one in the holdout, which the paper's algorithm alone does not
    promise. The same arguments give the same split.

    Args:
        targets_NC: multi-hot, [N, C]; images without any class are split too.
        fraction: share of the images that goes to the holdout, in [0, 0.5); any share above 0 takes an image or more.
        seed: seed of the choice among images that the method cannot tell apart.

    Returns:
        Rows of train and rows of the holdout: int64, ascending, disjoint, together all N.
    """
    if fraction == 0 or len(targets_NC) < 2:
        return np.arange(len(targets_NC)), np.arange(0)
    visiting_N = np.random.default_rng(seed).permutation(len(targets_NC))
    shuffled_NC = targets_NC[visiting_N]
    in_holdout_N = _stratify(shuffled_NC, fraction)
    _represent_all(shuffled_NC, in_holdout_N, fraction)
    if not in_holdout_N.any():
        in_holdout_N[0] = True
    return np.sort(visiting_N[~in_holdout_N]), np.sort(visiting_N[in_holdout_N])


def _stratify(targets_NC: NDArray[np.uint8], fraction: float) -> NDArray[np.bool_]:
    """Algorithm 1 for two parts: bool [N], True for the holdout.

    ``wanted`` is what the holdout still lacks of each class; train then lacks ``left - wanted``, and the image goes to
    the part that lacks more. One more column counts the images themselves: it settles ties, and is the class of the
    images that have none.
    """
    rows, classes = np.nonzero(targets_NC)
    flat, ends = classes.tolist(), np.searchsorted(rows, np.arange(len(targets_NC) + 1)).tolist()
    count = targets_NC.shape[1]
    left = [*targets_NC.sum(axis=0, dtype=np.int64).tolist(), len(targets_NC)]
    wanted = [fraction * total for total in left]
    in_holdout_N = np.zeros(len(targets_NC), dtype=np.bool_)
    placed_N = np.zeros(len(targets_NC), dtype=np.bool_)
    while left[count]:
        rarest = min((c for c in range(count) if left[c]), key=left.__getitem__, default=count)
        open_N = ~placed_N if rarest == count else ~placed_N & (targets_NC[:, rarest] > 0)
        for row in np.flatnonzero(open_N).tolist():
            lack = 2 * wanted[rarest] - left[rarest]
            chosen = lack > 0 or (lack == 0 and 2 * wanted[count] > left[count])
            in_holdout_N[row] = chosen
            for c in (*flat[ends[row] : ends[row + 1]], count):
                left[c] -= 1
                wanted[c] -= chosen
        placed_N |= open_N
    return in_holdout_N


def _represent_all(targets_NC: NDArray[np.uint8], in_holdout_N: NDArray[np.bool_], fraction: float) -> None:
    """Move an image with few classes into the holdout for each class that lacks one there, in place."""
    totals_C = targets_NC.sum(axis=0, dtype=np.int64)
    classes_N = targets_NC.sum(axis=1, dtype=np.int64)
    for c in np.flatnonzero(totals_C * fraction >= 1 - 1e-9):
        rows = np.flatnonzero(targets_NC[:, c])
        if not in_holdout_N[rows].any():
            in_holdout_N[rows[np.argmin(classes_N[rows])]] = True
