"""How often an epoch of training visits each image, and in which order, as functions of (seed, epoch).

N images, C classes, L visits in an epoch.
"""

import math

import numpy as np
from numpy.typing import NDArray

_ORDER_STREAM, _ROUNDING_STREAM, _SHARD_STREAM = 1, 5, 6
"""Keep this randomness apart from the augmentation's, seeded with (seed, epoch, row), and from the DataModule's."""


def permutation(num_images: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Random order of ``num_images`` rows, int64; the same for the same arguments."""
    return _random(seed, epoch, _ORDER_STREAM).permutation(num_images)


def expected_draws(
    targets_NC: NDArray[np.uint8], *, sampler: str, repeat_threshold: float = 0.0
) -> NDArray[np.float64]:
    """Mean number of visits of each image in an epoch.

    With n_c images of class c, K classes that are not absent and E images without any class:

        uniform         d_i = 1
        class_aware     d_i = (N - E) / K * sum_{c in i} 1 / n_c;   d_i = 1 where i has no class
        repeat_factor   d_i proportional to r_i = max(1, max_{c in i} sqrt(t / f_c)),   f_c = n_c / N

    class_aware is the probability of an image where a class is picked uniformly, then an image of it uniformly (Shen
    et al., Relay Backpropagation, ECCV 2016; for several labels an image, Wu et al., Distribution-Balanced
    Loss, ECCV 2020). An image without a class could never be picked: those keep their share of the epoch.
    repeat_factor is that of Gupta et al., LVIS, CVPR 2019, multiplied by ceil(R) / R, R = sum of r_i, at
    most 1 + 1 / N, so that every epoch has the same whole number of visits and none visits an image less than once.

    Args:
        targets_NC: multi-hot, of train.
        sampler: ``uniform``, ``class_aware`` or ``repeat_factor``.
        repeat_threshold: LVIS' t; classes with a larger share of the images are not repeated for their own sake.

    Returns:
        float64 [N]; its sum is the length of an epoch, a whole number but for rounding.

    Raises:
        ValueError: another sampler.
    """
    match sampler:
        case "uniform":
            return np.ones(len(targets_NC))
        case "class_aware":
            return _class_aware(targets_NC)
        case "repeat_factor":
            return _repeat_factor(targets_NC, repeat_threshold)
    raise ValueError(f"no sampler {sampler!r}")


def _class_aware(targets_NC: NDArray[np.uint8]) -> NDArray[np.float64]:
    counts_C = targets_NC.sum(axis=0, dtype=np.int64)
    present_C, empty_N = counts_C > 0, ~targets_NC.any(axis=1)
    weights_C = np.zeros(len(counts_C))
    weights_C[present_C] = (len(targets_NC) - empty_N.sum()) / (present_C.sum() * counts_C[present_C])
    return np.where(empty_N, 1.0, targets_NC @ weights_C)


def _repeat_factor(targets_NC: NDArray[np.uint8], threshold: float) -> NDArray[np.float64]:
    counts_C = targets_NC.sum(axis=0, dtype=np.int64)
    factors_C = np.sqrt(threshold * len(targets_NC) / np.maximum(counts_C, 1))
    factors_N = (targets_NC * factors_C).max(axis=1, initial=1.0)
    total = factors_N.sum()
    scaled_N: NDArray[np.float64] = factors_N * (math.ceil(total) / total) if len(factors_N) else factors_N
    return scaled_N


def epoch_length(draws_N: NDArray[np.float64]) -> int:
    """Visits of every epoch, L."""
    return round(float(draws_N.sum()))


def visit_counts(draws_N: NDArray[np.float64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Visits of each image in this epoch: ``draws_N`` rounded down or up, with these means, to one sum for all epochs.

    Systematic sampling (Madow, 1949): the fractions are laid end to end in a random order, and every image on whose
    stretch one of the points u, u + 1, u + 2, ... lies is visited once more, with a single random u in [0, 1). Each
    image is rounded up with the probability of its fraction, as LVIS' stochastic rounding does, but not independently.

    Args:
        draws_N: mean visits, >= 0, with a whole sum.
        seed: run seed.
        epoch: from 0.

    Returns:
        int64 [N] with the sum ``epoch_length(draws_N)``.
    """
    random = _random(seed, epoch, _ROUNDING_STREAM)
    whole_N = np.floor(draws_N)
    visiting_N = random.permutation(len(draws_N))
    ends_N = np.cumsum((draws_N - whole_N)[visiting_N])
    counts_N = whole_N.astype(np.int64)
    more = epoch_length(draws_N) - int(counts_N.sum())
    ends_N[-1:] = more  # rounding errors must not change the length
    points_N = np.minimum(np.floor(ends_N + random.random()), more).astype(np.int64)
    counts_N[visiting_N] += np.diff(points_N, prepend=0)
    return counts_N


def epoch_rows(draws_N: NDArray[np.float64], *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Rows in the order of their visits, int64 [L]; where all draws are 1, exactly ``permutation``."""
    rows_L = np.repeat(np.arange(len(draws_N)), visit_counts(draws_N, seed=seed, epoch=epoch))
    return rows_L[permutation(len(rows_L), seed=seed, epoch=epoch)]


def in_windows(
    rows_L: NDArray[np.int64], shards_N: NDArray[np.int32], *, window: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """The same visits, window after window of shards, so that each shard is needed for one stretch of the epoch only.

    The shards are shuffled anew in every epoch and dealt into windows. Within a window the visits keep their order, so
    that a random order of all is a random order within each; one window over all shards changes nothing.

    Args:
        rows_L: rows in the order of their visits.
        shards_N: shard of each row.
        window: shards that are mixed; 0 mixes all.
        seed: run seed.
        epoch: from 0.

    >>> in_windows(np.array([3, 0, 2, 1]), np.array([0, 0, 1, 1], np.int32), window=1, seed=0, epoch=0)
    array([3, 2, 0, 1])
    """
    present, shard_N = np.unique(shards_N, return_inverse=True)
    places = np.empty(len(present), np.int64)
    places[_random(seed, epoch, _SHARD_STREAM).permutation(len(present))] = np.arange(len(present))
    windows = places // (window or max(len(present), 1))
    return rows_L[np.argsort(windows[shard_N[rows_L]], kind="stable")]


def repeat_numbers(rows_L: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each row has come before, int64 [L].

    >>> repeat_numbers(np.array([7, 3, 7, 7, 3]))
    array([0, 0, 1, 2, 1])
    """
    by_row_L = np.argsort(rows_L, kind="stable")
    is_first_L = np.diff(rows_L[by_row_L], prepend=-1) != 0
    position_L = np.arange(len(rows_L))
    numbers_L = np.empty_like(position_L)
    numbers_L[by_row_L] = position_L - np.maximum.accumulate(np.where(is_first_L, position_L, 0))
    return numbers_L


def _random(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch), spawn_key=(stream,))))
