"""Logistic regression of a label on one score, for many classes at once, with a pull towards a given line.

Shapes: N images, K columns, each with a line of its own: slope a and offset b, held as rows of [2, K].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.analysis.decision_metrics import Floats

MIN_SLOPE = 0.05
"""Lines that fall, or nearly so, would turn the order of the scores around."""
STEPS = 100
HALVINGS = 40
TOLERANCE = 1e-9
ROUNDING = 1e-12


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-z)) without overflow."""
    shrunk = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, shrunk) / (1 + shrunk))


def fit_logistic(
    logits_NK: Floats,
    targets_NK: NDArray[Any],
    *,
    prior: tuple[float, float],
    strength: float,
    fit_offset: bool = True,
) -> tuple[Floats, Floats]:
    """Slope and offset per column, float64 [K] each.

        minimise  sum_n log(1 + exp(t_n)) - y_n t_n  +  strength / 2 ((a - a0)^2 + (b - b0)^2),    t = a z + b

    over a >= 0.05 and b. Strictly convex; Newton's method (IRLS), each step halved until the loss falls. A column whose
    best slope is below 0.05 gets 0.05 and the offset that is best with it.

    Args:
        logits_NK: the scores, finite.
        targets_NK: 0 or 1.
        prior: slope a0 and offset b0.
        strength: of the pull towards them, > 0: every column has a finite minimum.
        fit_offset: False keeps b = b0.
    """
    problem = _Problem(logits_NK, targets_NK.astype(np.float64), np.array(prior)[:, None], strength)
    line_2K = _newton(problem, np.repeat(problem.prior_21, logits_NK.shape[1], axis=1), np.array([True, fit_offset]))
    if (falling_K := line_2K[0] < MIN_SLOPE).any():
        line_2K[0, falling_K] = MIN_SLOPE
        part = _Problem(logits_NK[:, falling_K], problem.targets_NK[:, falling_K], problem.prior_21, strength)
        line_2K[:, falling_K] = _newton(part, line_2K[:, falling_K], np.array([False, fit_offset]))
    return line_2K[0], line_2K[1]


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    logits_NK: Floats
    targets_NK: Floats
    prior_21: Floats
    strength: float

    def loss(self, line_2K: Floats) -> Floats:
        """What is minimised, [K]."""
        t_NK = line_2K[0] * self.logits_NK + line_2K[1]
        log_loss_K = (np.logaddexp(0, t_NK) - self.targets_NK * t_NK).sum(axis=0)
        return np.asarray(log_loss_K + self.strength / 2 * ((line_2K - self.prior_21) ** 2).sum(axis=0))

    def newton_step(self, line_2K: Floats, free_2: NDArray[np.bool_]) -> Floats:
        """Inverse Hessian times gradient over the free parameters, [2, K]; 0 for the others."""
        p_NK = sigmoid(line_2K[0] * self.logits_NK + line_2K[1])
        residual_NK, weight_NK = p_NK - self.targets_NK, p_NK * (1 - p_NK)
        gradient_2K = np.stack([(residual_NK * self.logits_NK).sum(axis=0), residual_NK.sum(axis=0)])
        a_K, b_K = (gradient_2K + self.strength * (line_2K - self.prior_21)) * free_2[:, None]
        aa_K = (weight_NK * self.logits_NK**2).sum(axis=0) + self.strength
        ab_K = (weight_NK * self.logits_NK).sum(axis=0) * free_2.all()
        bb_K = weight_NK.sum(axis=0) + self.strength
        return np.asarray(np.stack([bb_K * a_K - ab_K * b_K, aa_K * b_K - ab_K * a_K]) / (aa_K * bb_K - ab_K**2))


def _newton(problem: _Problem, line_2K: Floats, free_2: NDArray[np.bool_]) -> Floats:
    """Minimum over the free parameters, from a start."""
    loss_K = problem.loss(line_2K)
    for _ in range(STEPS):
        step_2K = problem.newton_step(line_2K, free_2)
        if np.abs(step_2K).max() < TOLERANCE:
            break
        for _ in range(HALVINGS):
            tried_K = problem.loss(line_2K - step_2K)
            worse_K = tried_K > loss_K + ROUNDING * np.abs(loss_K)
            if not worse_K.any():
                break
            step_2K = np.where(worse_K, step_2K / 2, step_2K)
        line_2K, loss_K = line_2K - step_2K, tried_K
    return line_2K
