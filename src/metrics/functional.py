"""Multi-label scores at a threshold, from counts over all images; never means of batch scores.

Legend: N images, C classes; tp, fp, fn, tn are counts of decisions. Every score is float64 and a fraction in [0, 1].

Zero division, the same everywhere: precision without a predicted positive is 0, recall and F1 without a positive are 0.
A macro mean runs over the classes that have a positive ("support"); names ending in ``_all`` run over all C classes
with absent ones at 0, as torchmetrics and scikit-learn count. An image without labels and without predictions is
answered rightly: its sample F1 is 1 (scikit-learn's ``zero_division=1``).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.metrics.ranking import average_precisions

GROUPS = ("head", "mid", "tail")
Groups: TypeAlias = Tensor | NDArray[np.integer[Any]] | Sequence[int]
"""Frequency group of each class: 0 head, 1 mid, 2 tail."""
_BYTE = 255


class MetricError(ValueError):
    """What was passed cannot be scored."""


class Counts(NamedTuple):
    """Decisions per class, each int64 [C] (or [] when pooled)."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor


class Tally(NamedTuple):
    """Sums over images from which every score at a threshold follows; tallies of parts add up to that of the whole."""

    counts: Counts
    f1_samples_sum: Tensor
    """Sum of the images' own F1, float64 []."""
    num_exact: Tensor
    """Images with every decision right, int64 []."""
    num_images: Tensor
    """int64 []."""


def check_scores(scores_NC: Tensor, targets_NC: Tensor) -> None:
    """Check that scores are probabilities and targets multi-hot.

    Raises:
        MetricError: shapes differ, there are no images, scores are no float32 in [0, 1] or targets not 0 or 1.
    """
    if scores_NC.ndim != 2 or scores_NC.shape != targets_NC.shape:
        shapes = f"scores {tuple(scores_NC.shape)} and targets {tuple(targets_NC.shape)}"
        raise MetricError(f"{shapes}: expected the same [images, classes]")
    if scores_NC.numel() == 0:
        raise MetricError(f"scores {tuple(scores_NC.shape)}: nothing to score")
    if scores_NC.dtype != torch.float32:
        raise MetricError(f"scores are {scores_NC.dtype}: expected float32, torch.sigmoid(logits.float())")
    low, high = scores_NC.min().item(), scores_NC.max().item()
    if not (low >= 0 and high <= 1):  # nan where there is one
        found = f"{int(count_invalid(scores_NC))} scores outside [0, 1] ({low:g}..{high:g})"
        raise MetricError(f"{found}: pass torch.sigmoid(logits.float())")
    if not _is_multi_hot(targets_NC):
        raise MetricError("targets must be 0 or 1: an image has a class or has it not")


def _is_multi_hot(targets_NC: Tensor) -> bool:
    if targets_NC.is_floating_point():
        return bool(((targets_NC == 0) | (targets_NC == 1)).all())
    return bool(targets_NC.min() >= 0) and bool(targets_NC.max() <= 1)


def count_invalid(scores: Tensor) -> Tensor:
    """Number of scores that are no probability, NaN included; int64 [] on the scores' device."""
    return ((scores >= 0) & (scores <= 1)).logical_not().sum()


def decide(scores_NC: Tensor, threshold: float | Tensor = 0.5) -> Tensor:
    """Boolean [N, C]: score >= threshold, one for all or [C], the threshold rounded to float32 as the scores are."""
    if isinstance(threshold, Tensor):
        return scores_NC >= threshold.to(scores_NC.device, torch.float32)
    return scores_NC >= float(np.float32(threshold))  # a tensor on the device would be a copy that is waited for


def confusion(predicted_NC: Tensor, targets_NC: Tensor) -> Counts:
    """Count decisions per class.

    Args:
        predicted_NC: decisions, boolean.
        targets_NC: multi-hot.
    """
    truth_NC = targets_NC.bool()
    tp, num_predicted, num_true = _sums(predicted_NC, truth_NC, _per_class)
    return Counts(tp, num_predicted - tp, num_true - tp, len(truth_NC) - num_predicted - num_true + tp)


def _sums(predicted_NC: Tensor, truth_NC: Tensor, summed: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """True positives, predictions and positives."""
    return summed(predicted_NC & truth_NC), summed(predicted_NC), summed(truth_NC)


def _per_image(table_NC: Tensor) -> Tensor:
    """Trues of each row, int64 [N]; summed as int32, in half of the time."""
    return table_NC.sum(dim=1, dtype=torch.int32).long()


def _per_class(table_NC: Tensor) -> Tensor:
    """Trues of each column, int64 [C].

    Many rows are added as bytes, eight side by side and no more than a byte holds: 0.1 ms for 40,000 x 80, not 1.7.
    """
    blocks, num_classes = len(table_NC) // (8 * _BYTE), table_NC.shape[1]
    whole = blocks * 8 * _BYTE
    sums_C = table_NC[whole:].sum(dim=0, dtype=torch.int32).long()
    if blocks:
        bytes_K = table_NC[:whole].contiguous().view(torch.uint8).view(blocks, _BYTE, 8 * num_classes)
        sums_C += bytes_K.sum(dim=1, dtype=torch.uint8).view(8 * blocks, num_classes).sum(dim=0, dtype=torch.int64)
    return sums_C


def tally(predicted_NC: Tensor, targets_NC: Tensor) -> Tally:
    """Count decisions per class and per image.

    Args:
        predicted_NC: decisions, boolean.
        targets_NC: multi-hot.
    """
    truth_NC = targets_NC.bool()
    tp_N, num_predicted_N, num_true_N = _sums(predicted_NC, truth_NC, _per_image)
    num_exact = ((tp_N == num_predicted_N) & (tp_N == num_true_N)).sum()
    num_images = torch.full_like(num_exact, len(truth_NC))
    f1_N = _f1_of_images(tp_N, num_predicted_N + num_true_N)
    return Tally(confusion(predicted_NC, truth_NC), f1_N.sum(), num_exact, num_images)


def f1_samples(predicted_NC: Tensor, targets_NC: Tensor) -> Tensor:
    """F1 of each image over its classes, float64 [N]; 1 where nothing is labelled and nothing predicted."""
    tp_N, num_predicted_N, num_true_N = _sums(predicted_NC, targets_NC.bool(), _per_image)
    return _f1_of_images(tp_N, num_predicted_N + num_true_N)


def _f1_of_images(tp_N: Tensor, total_N: Tensor) -> Tensor:
    return torch.where(total_N > 0, _fraction(2 * tp_N, total_N), 1.0)


def precision(counts: Counts) -> Tensor:
    """TP / (TP + FP), float64; 0 without predicted positives."""
    return _fraction(counts.tp, counts.tp + counts.fp)


def recall(counts: Counts) -> Tensor:
    """TP / (TP + FN), float64; 0 without positives."""
    return _fraction(counts.tp, counts.tp + counts.fn)


def f1(counts: Counts) -> Tensor:
    """2 TP / (2 TP + FP + FN), float64; 0 without positives."""
    return _fraction(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def _fraction(part: Tensor, whole: Tensor) -> Tensor:
    """Part / whole of counts; 0 / 0 is 0, since a part is 0 where its whole is."""
    return part.double() / whole.clamp_min(1)


def support(counts: Counts) -> Tensor:
    """Boolean [C]: the class has a positive."""
    return counts.tp + counts.fn > 0


def pooled(counts: Counts) -> Counts:
    """Counts over all classes together, for micro scores."""
    return Counts(*(count.sum() for count in counts))


def mean_over(values_C: Tensor, chosen_C: Tensor) -> float:
    """Mean of the chosen classes' values; 0 where none is chosen."""
    return float((values_C * chosen_C).sum() / chosen_C.sum().clamp_min(1))


def count_report(sums: Tally, *, groups_C: Groups | None = None, prefix: str = "") -> dict[str, float]:
    """Every score at a threshold.

    ``op``, ``or``, ``of1`` are the literature's names for micro precision, recall and F1; ``cp`` and ``cr`` for the
    macro means, and ``cf1`` is the harmonic mean of those two (Wang et al., CNN-RNN, CVPR 2016), which is not the mean
    of the classes' F1 (``f1_macro``). ``hamming`` is the Hamming loss, the share of wrong decisions: lower is better.

    Args:
        sums: counts over all images.
        groups_C: 0 head, 1 mid, 2 tail per class, [C]; adds ``f1_head`` and so on, the macro F1 of the group's classes
            with support. A group without any has no score and no key.
        prefix: put before each key, e.g. "val/".

    Raises:
        MetricError: no image was counted.
    """
    if not sums.num_images:
        raise MetricError("no images were counted: nothing to score")
    counts, total, present_C = sums.counts, pooled(sums.counts), support(sums.counts)
    micro = {"precision": float(precision(total)), "recall": float(recall(total)), "f1": float(f1(total))}
    cp, cr = mean_over(precision(counts), present_C), mean_over(recall(counts), present_C)
    wrong, decisions = float(total.fp + total.fn), float(sum(total))
    scores = {f"{name}_micro": value for name, value in micro.items()} | {
        "precision_macro": cp,
        "recall_macro": cr,
        "f1_macro": mean_over(f1(counts), present_C),
        "f1_macro_all": float(f1(counts).mean()),
        "f1_samples": float(sums.f1_samples_sum / sums.num_images),
        "hamming": wrong / decisions,
        "accuracy": (decisions - wrong) / decisions,
        "subset_accuracy": float(_fraction(sums.num_exact, sums.num_images)),
        "cp": cp,
        "cr": cr,
        "cf1": 2 * cp * cr / (cp + cr) if cp + cr else 0.0,
        "op": micro["precision"],
        "or": micro["recall"],
        "of1": micro["f1"],
        "num_classes_present": float(present_C.sum()),
    }
    if groups_C is not None:
        scores |= group_f1(counts, torch.as_tensor(groups_C, device=present_C.device))
    return {prefix + name: value for name, value in scores.items()}


def group_f1(counts: Counts, groups_C: Tensor) -> dict[str, float]:
    """Macro F1 over the classes with support of each frequency group; groups without such a class are left out."""
    members = {name: (groups_C == group) & support(counts) for group, name in enumerate(GROUPS)}
    return {f"f1_{name}": mean_over(f1(counts), chosen_C) for name, chosen_C in members.items() if chosen_C.any()}


def score_report(
    scores_NC: Tensor,
    targets_NC: Tensor,
    *,
    groups_C: Groups | None = None,
    threshold: float | Tensor = 0.5,
    prefix: str = "",
) -> dict[str, float]:
    """Every score of a split: ``map`` from the ranking, the rest at a threshold (see ``count_report``).

    Args:
        scores_NC: probabilities, float32 in [0, 1].
        targets_NC: multi-hot.
        groups_C: 0 head, 1 mid, 2 tail per class, [C]; None leaves the groups' scores out.
        threshold: one for all classes, or [C]; a class is predicted where score >= threshold.
        prefix: put before each key, e.g. "val/".

    Raises:
        MetricError: see ``check_scores``.
    """
    check_scores(scores_NC, targets_NC)
    sums = tally(decide(scores_NC, threshold), targets_NC)
    mean_ap = mean_over(average_precisions(scores_NC, targets_NC), support(sums.counts))
    return {f"{prefix}map": mean_ap} | count_report(sums, groups_C=groups_C, prefix=prefix)
