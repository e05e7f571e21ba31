"""Losses for independent labels, as pure functions of logits and targets.

Legend: z logit, p = sigmoid(z), y target, B images, C classes. Targets are multi-hot; a soft target y in (0, 1) is the
mixture y L(z, 1) + (1 - y) L(z, 0). Everything is computed in float32 from log-sigmoids, so that values and gradients
stay finite wherever the logit is; float64 inputs stay float64 (for gradient checks).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _at_least_float32(logits_BC: Tensor, targets_BC: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(logits_BC.dtype, torch.float32)
    return logits_BC.to(dtype), targets_BC.to(dtype)


def bce(logits_BC: Tensor, targets_BC: Tensor, *, pos_weight_C: Tensor | None = None) -> Tensor:
    """Element-wise binary cross-entropy.

        BCE(z, y) = -w y log p - (1 - y) log(1 - p)

    Unlike ``F.binary_cross_entropy_with_logits``, which computes an easy negative as z + log(1 + exp(-z)), each term
    keeps its relative precision however small it is.

    Args:
        logits_BC: raw scores, any float dtype.
        targets_BC: multi-hot, any dtype.
        pos_weight_C: weight w of each class's positives; None weighs both alike.

    Returns:
        Loss of shape [B, C], float32, not reduced.
    """
    logits_BC, targets_BC = _at_least_float32(logits_BC, targets_BC)
    positive_BC = -F.logsigmoid(logits_BC) * (1 if pos_weight_C is None else pos_weight_C)
    return targets_BC * positive_BC - (1 - targets_BC) * F.logsigmoid(-logits_BC)


def focal(logits_BC: Tensor, targets_BC: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Element-wise focal loss.

        FL(z, y) = -alpha_t (1 - p_t)^gamma log p_t,   p_t = p where y = 1, else 1 - p

    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. 5. (1 - p_t)^gamma is exp(gamma log(1 - p_t)): a
    power of 1 - p_t has an infinite slope at p_t = 1 for gamma < 1, which meets log p_t = 0 and makes the gradient NaN.

    Args:
        logits_BC: raw scores, any float dtype.
        targets_BC: multi-hot, any dtype.
        gamma: focusing strength; 0 is binary cross-entropy.
        alpha: weight of the positives in [0, 1], 1 - alpha that of the negatives; None weighs both with 1.

    Returns:
        Loss of shape [B, C], float32, not reduced.
    """
    logits_BC, targets_BC = _at_least_float32(logits_BC, targets_BC)
    log_p, log_not_p = F.logsigmoid(logits_BC), F.logsigmoid(-logits_BC)
    positive_BC = -torch.exp(gamma * log_not_p) * log_p
    negative_BC = -torch.exp(gamma * log_p) * log_not_p
    if alpha is not None:
        positive_BC, negative_BC = alpha * positive_BC, (1 - alpha) * negative_BC
    return targets_BC * positive_BC + (1 - targets_BC) * negative_BC


def asl(
    logits_BC: Tensor, targets_BC: Tensor, *, gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05
) -> Tensor:
    """Element-wise asymmetric loss.

        L+ = -(1 - p)^gamma_pos log p,   L- = -p_m^gamma_neg log(1 - p_m),   p_m = max(p - clip, 0)

    Ridnik et al., Asymmetric Loss For Multi-Label Classification, ICCV 2021. The gradient is that of the formula, the
    focusing weights included (their code's ``disable_torch_grad_focal_loss=False``). They sum over images and classes.
    Their ``clamp(min=1e-8)``, which cuts the gradient of a sure mistake and is 0 in fp16, is not needed: see
    ``_log_one_minus_shifted``.

    Args:
        logits_BC: raw scores, any float dtype.
        targets_BC: multi-hot, any dtype.
        gamma_pos: focusing strength on positives.
        gamma_neg: focusing strength on negatives.
        clip: probability margin below which a negative costs nothing, in [0, 1).

    Returns:
        Loss of shape [B, C], float32, not reduced.
    """
    logits_BC, targets_BC = _at_least_float32(logits_BC, targets_BC)
    log_p, log_not_p = F.logsigmoid(logits_BC), F.logsigmoid(-logits_BC)
    shifted_BC = torch.relu(torch.sigmoid(logits_BC) - clip)
    positive_BC = -torch.exp(gamma_pos * log_not_p) * log_p
    # For gamma_neg < 1 the power's slope at 0 is infinite; relu's backward selects, and so drops it there.
    negative_BC = -(shifted_BC**gamma_neg) * _log_one_minus_shifted(shifted_BC, log_not_p, clip)
    return targets_BC * positive_BC + (1 - targets_BC) * negative_BC


def _log_one_minus_shifted(shifted_BC: Tensor, log_not_p: Tensor, clip: float) -> Tensor:
    """log(1 - p_m) to float precision for every logit and margin, from p_m and log(1 - p).

    Below one half, log1p(-p_m) loses nothing. Above, 1 - p_m = (1 - p) + clip is a sum of positives, taken in logs so
    that it survives 1 - p underflowing: log(exp(log(1 - p)) + clip). ``clamp`` keeps the unused branch, and thereby
    its gradient, finite.
    """
    log_clip = log_not_p.new_full((), math.log(clip) if clip > 0 else -math.inf)
    small_BC = torch.log1p(-shifted_BC.clamp(max=0.5))
    large_BC = torch.logaddexp(log_not_p, log_clip)
    return torch.where(shifted_BC < 0.5, small_BC, large_BC)


def soft_f1(logits_BC: Tensor, targets_BC: Tensor, *, average: str = "macro", mask_absent: bool = True) -> Tensor:
    """One minus F1 on probabilities instead of decisions, over the batch.

        1 - F1,   F1 = 2 TP / (2 TP + FP + FN),   TP = sum p y,   FP = sum p (1 - y),   FN = sum (1 - p) y

    The denominator is sum p + sum y. Known as soft-F1 or sigmoid-F1; the form of the soft Dice loss (Milletari et al.,
    V-Net, 3DV 2016) with the sum over images. F1 of a class without a positive in the batch is 0 whatever p is, so
    such a class only adds a constant without gradient (70 of COCO's 80 classes at batch 4, 7 at batch 128);
    ``mask_absent`` leaves it out of the macro mean. A batch without any positive then gives 0 with zero gradient.

    Args:
        logits_BC: raw scores, any float dtype.
        targets_BC: multi-hot, any dtype.
        average: "macro" takes F1 per class, then the mean over classes; "micro" one F1 over all decisions.
        mask_absent: leave out of the macro mean the classes without a positive in the batch.

    Returns:
        Scalar in [0, 1], float32.
    """
    logits_BC, targets_BC = _at_least_float32(logits_BC, targets_BC)
    p_BC = torch.sigmoid(logits_BC)
    if average == "micro":
        return 1 - _f1(p_BC.flatten(), targets_BC.flatten())
    loss_C = 1 - _f1(p_BC, targets_BC)
    if not mask_absent:
        return loss_C.mean()
    present_C = (targets_BC.sum(dim=0) > 0).to(loss_C.dtype)
    return (loss_C * present_C).sum() / present_C.sum().clamp_min(1)


def _f1(p: Tensor, targets: Tensor) -> Tensor:
    """Soft F1 over the first axis; 0 where there is neither probability nor positive."""
    total = p.sum(dim=0) + targets.sum(dim=0)
    return 2 * (p * targets).sum(dim=0) / torch.where(total > 0, total, 1)


def two_way(
    logits_BC: Tensor, targets_BC: Tensor, *, temperature_pos: float = 4.0, temperature_neg: float = 1.0
) -> Tensor:
    """Ranking positives above negatives, within each image and within each class of the batch.

        L(z, y) = softplus( T_n log sum_{y=0} exp(z / T_n)  +  T_p log sum_{y=1} exp(-z / T_p) )

    over the classes of an image, and over the images of a class; the loss is the mean over images plus the mean over
    classes. Kobayashi, Two-Way Multi-Label Loss, CVPR 2023. The soft maximum of the negatives is
    compared with the soft minimum of the positives, so the many easy negatives of an imbalanced class weigh nothing.
    Images without a positive and classes without one in the batch have nothing to rank and are left out, as in the
    paper; likewise those without a negative. Scores rank well but are no probabilities: fit thresholds.

    Args:
        logits_BC: raw scores, any float dtype.
        targets_BC: multi-hot, any dtype.
        temperature_pos: T_p > 0; small looks at the lowest positive only, large at all of them.
        temperature_neg: T_n > 0, likewise for the highest negative.

    Returns:
        Scalar, float32; 0 with zero gradient where the batch has nothing to rank.
    """
    logits_BC, targets_BC = _at_least_float32(logits_BC, targets_BC)
    by_image = _ranking(logits_BC, targets_BC > 0, temperature_pos, temperature_neg)
    by_class = _ranking(logits_BC.T, targets_BC.T > 0, temperature_pos, temperature_neg)
    return by_image + by_class


def _ranking(logits: Tensor, positive: Tensor, temperature_pos: float, temperature_neg: float) -> Tensor:
    """Mean over the rows that have both a positive and a negative."""
    # Rows are chosen by a product with 0, not by indexing, which would wait for the device.
    ranked = (positive.any(dim=1) & ~positive.all(dim=1)).to(logits.dtype)
    lowest = _soft_max(-logits, positive, temperature_pos)
    highest = _soft_max(logits, ~positive, temperature_neg)
    loss = F.softplus(highest + lowest)
    return (loss * ranked).sum() / ranked.sum().clamp_min(1)


def _soft_max(values: Tensor, chosen: Tensor, temperature: float) -> Tensor:
    """T log sum exp(v / T) over the chosen entries of each row; of all entries where none is, to stay finite."""
    chosen = chosen | ~chosen.any(dim=1, keepdim=True)
    return temperature * torch.logsumexp((values / temperature).masked_fill(~chosen, -math.inf), dim=1)
