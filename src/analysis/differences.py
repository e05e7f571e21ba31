"""What of a difference between configurations is more than chance.

Two things move it: the images it was measured on and the seeds that were trained. Both go into the interval, the
percentiles of

    d* = 2 d - [mean_b m(b, images*) - mean_a m(a, images*)] + s t_df sqrt(1/n_a + 1/n_b)

with d the difference on the images as they are.

- ``images*`` is a resample of the images with replacement, the same for every run: what is hard for both cancels. The
  reflection at d takes off the bias of resampled macro scores (``src.analysis.bootstrap`` has the reason and numbers).
- ``s`` is the standard deviation of the metric between runs of one group, pooled over all groups as in an analysis of
  variance, df = sum (n_g - 1); ``t_df`` is a random draw. So two seeds per group give a wide interval, as they should,
  and a group of one seed borrows the spread of the others. That spread already holds a part of the images' (seeds
  answer to images differently), so the interval errs on the wide side.
- Where no group has two runs, ``s`` is unknown and the interval covers the images alone; ``Pairs.covers`` says which.

Shapes: M runs, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOISE_DRAWS = 100
"""Draws of the seeds' part per resample: the tails of t with one degree of freedom are long, and draws are cheap."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A group less the reference.

    Attributes:
        before: mean of the reference.
        value: mean of the group less that.
        low: lower end of the interval.
        high: upper end.
        images_se: standard error that the images bring.
        seeds_se: that the seeds bring; nan where no group has two runs.
    """

    before: float
    value: float
    low: float
    high: float
    images_se: float
    seeds_se: float

    @property
    def clear(self) -> bool:
        """The interval leaves out 0."""
        return self.low > 0 or self.high < 0


class Pairs:
    """Differences of groups of runs from one of them; one set of random draws serves all metrics and classes.

    Args:
        groups: label of each run, M of them.
        reference: label of the group that is subtracted.
        resamples: R.
        level: share of the intervals that hold the true difference, were the spread of seeds normal.
        seed: of the seeds' part.
    """

    def __init__(self, groups: Sequence[str], reference: str, *, resamples: int, level: float, seed: int) -> None:
        self.groups, self.reference, self.level = np.array(groups), reference, level
        self.others = [label for label in dict.fromkeys(groups) if label != reference]
        self.df = len(groups) - len(set(groups))
        self.covers = "images and seeds" if self.df else "images"
        shape = (NOISE_DRAWS, resamples)
        self._t = np.random.default_rng(seed).standard_t(self.df, size=shape) if self.df else np.zeros(resamples)

    def difference(self, draws_MR: NDArray[np.float64], group: str) -> Difference:
        """Difference of one score.

        Args:
            draws_MR: score of each run on the images (first column) and on each resample, [M, 1 + R]; nan where a
                resample says nothing, which is then left out.
            group: one of ``others``.
        """
        ours_M, base_M = self.groups == group, self.groups == self.reference
        before_R, after_R = draws_MR[base_M].mean(axis=0), draws_MR[ours_M].mean(axis=0)
        difference_R = after_R - before_R
        images_R = 2 * difference_R[0] - difference_R[1:]
        known_R = ~np.isnan(images_R)
        sd, df = pooled_sd(draws_MR[:, 0], self.groups)
        seeds_se = sd * float(np.sqrt(1 / ours_M.sum() + 1 / base_M.sum()))
        draws = images_R[known_R] + (seeds_se * self._t[:, known_R] if df else 0.0)
        low, high = np.quantile(draws, [(1 - self.level) / 2, (1 + self.level) / 2]) if draws.size else (np.nan, np.nan)
        low, high = min(low, difference_R[0]), max(high, difference_R[0])  # as ``bootstrap.interval`` has it
        images_se = float(images_R[known_R].std(ddof=1)) if known_R.sum() > 1 else float("nan")
        return Difference(
            before=float(before_R[0]),
            value=float(difference_R[0]),
            low=float(low),
            high=float(high),
            images_se=images_se,
            seeds_se=seeds_se,
        )


def pooled_sd(values_M: NDArray[np.float64], groups_M: NDArray[np.str_]) -> tuple[float, int]:
    """Standard deviation within groups, s^2 = sum (m - mean of its group)^2 / df, and df = sum (n_g - 1).

    Returns:
        (nan, 0) where every group has one run.
    """
    parts = [values_M[groups_M == label] for label in np.unique(groups_M)]
    df = len(values_M) - len(parts)
    squares = sum(float(((part - part.mean()) ** 2).sum()) for part in parts)
    return (float(np.sqrt(squares / df)), df) if df else (float("nan"), 0)
