"""How uneven the classes are, and what a model scores that ignores the image.

Shapes: N images, C classes; a class is absent where no image has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

GROUP_NAMES = ("head", "mid", "tail")


@dataclass(frozen=True, slots=True)
class ConstantBaselines:
    """Scores of answers that are the same for every image; a model must beat them to have seen anything.

    Attributes:
        all_negative_accuracy: element-wise accuracy of never naming a class.
        most_frequent_class: index of the class with the most images.
        most_frequent_f1_micro: micro-F1 of always naming that class alone.
        best_k: number of most frequent classes in the constant answer of highest micro-F1.
        best_f1_micro: its micro-F1, the highest of any constant answer.
        best_f1_macro: highest macro-F1 of any constant answer, which is naming every class; absent classes left out.
        prior_map: mAP of scoring by class frequency: the mean frequency of the classes that are not absent.
    """

    all_negative_accuracy: float
    most_frequent_class: int
    most_frequent_f1_micro: float
    best_k: int
    best_f1_micro: float
    best_f1_macro: float
    prior_map: float

    @property
    def most_frequent(self) -> str:
        """The best constant answer in words."""
        return "most frequent class" if self.best_k == 1 else f"{self.best_k} most frequent classes"


@dataclass(frozen=True, slots=True)
class ImbalanceSummary:
    """A data set's labels in a few numbers.

    Attributes:
        images: number of images.
        classes: number of classes.
        labels_mean: classes per image, mean.
        labels_min: classes per image, fewest.
        labels_max: classes per image, most.
        empty_images: images without any class.
        imbalance_ratio: images of the most over the least frequent class that is not absent; nan if all are.
        neg_pos: negatives per positive over the whole table; inf without positives.
        absent_classes: names of the classes that no image has.
        baselines: scores of constant answers.
    """

    images: int
    classes: int
    labels_mean: float
    labels_min: int
    labels_max: int
    empty_images: int
    imbalance_ratio: float
    neg_pos: float
    absent_classes: tuple[str, ...]
    baselines: ConstantBaselines


def class_table(targets_NC: NDArray[np.uint8], class_names: Sequence[str]) -> pd.DataFrame:
    """One row per class, in class order.

    Args:
        targets_NC: multi-hot, [N, C].
        class_names: the C names.

    Returns:
        Columns ``class_name``, ``count`` (images), ``frequency`` (share of the images), ``neg_pos`` (negatives per
        positive, inf for an absent class), ``group`` (head, mid or tail, see :func:`groups`).
    """
    counts_C = targets_NC.sum(axis=0, dtype=np.int64)
    return pd.DataFrame(
        {
            "class_name": list(class_names),
            "count": counts_C,
            "frequency": counts_C / len(targets_NC),
            "neg_pos": _ratio(len(targets_NC) - counts_C, counts_C),
            "group": [GROUP_NAMES[group] for group in groups(counts_C)],
        }
    )


def groups(counts_C: NDArray[np.int64]) -> NDArray[np.int64]:
    """Thirds of the classes ordered by count: 0 head (most images), 1 mid, 2 tail; ties in class order.

    >>> groups(np.array([5, 100, 7, 50, 1, 9]))
    array([2, 0, 1, 0, 2, 1])
    """
    ranks_C = np.empty(len(counts_C), dtype=np.int64)
    ranks_C[np.argsort(-counts_C.astype(np.int64), kind="stable")] = np.arange(len(counts_C))
    return ranks_C * len(GROUP_NAMES) // len(counts_C)


def constant_baselines(targets_NC: NDArray[np.uint8]) -> ConstantBaselines:
    """Exact scores of the best answers that do not look at the image.

    With n_c images of class c out of N and P = sum of n_c, naming a set S of classes everywhere gives

        micro-F1 = 2 sum_{c in S} n_c / (|S| N + P),        F1_c = 2 n_c / (N + n_c) for c in S, else 0.

    For a given size of S the most frequent classes are best, so that C sets decide the micro-F1; the macro-F1 only
    grows with S. Constant scores rank nothing: their average precision is the frequency.
    """
    images = len(targets_NC)
    counts_C = targets_NC.sum(axis=0, dtype=np.int64)
    positives = counts_C.sum()
    sizes_C = np.arange(1, len(counts_C) + 1)
    f1_C = 2 * np.cumsum(np.sort(counts_C)[::-1]) / (sizes_C * images + positives)
    present = counts_C[counts_C > 0]
    return ConstantBaselines(
        all_negative_accuracy=float(1 - positives / targets_NC.size),
        most_frequent_class=int(np.argmax(counts_C)),
        most_frequent_f1_micro=float(f1_C[0]),
        best_k=int(np.argmax(f1_C)) + 1,
        best_f1_micro=float(f1_C.max()),
        best_f1_macro=float(np.mean(2 * present / (images + present))) if len(present) else 0.0,
        prior_map=float(np.mean(present / images)) if len(present) else 0.0,
    )


def summarize(targets_NC: NDArray[np.uint8], class_names: Sequence[str]) -> ImbalanceSummary:
    """Summary of a data set's targets.

    Args:
        targets_NC: multi-hot, [N, C], at least one image and one class.
        class_names: the C names.
    """
    labels_N = targets_NC.sum(axis=1, dtype=np.int64)
    counts_C = targets_NC.sum(axis=0, dtype=np.int64)
    present = counts_C[counts_C > 0]
    positives = counts_C.sum(keepdims=True)
    return ImbalanceSummary(
        images=len(targets_NC),
        classes=targets_NC.shape[1],
        labels_mean=float(labels_N.mean()),
        labels_min=int(labels_N.min()),
        labels_max=int(labels_N.max()),
        empty_images=int((labels_N == 0).sum()),
        imbalance_ratio=float(present.max() / present.min()) if len(present) else float("nan"),
        neg_pos=float(_ratio(targets_NC.size - positives, positives)[0]),
        absent_classes=tuple(name for name, count in zip(class_names, counts_C, strict=True) if not count),
        baselines=constant_baselines(targets_NC),
    )


def _ratio(above: NDArray[np.int64], below: NDArray[np.int64]) -> NDArray[np.float64]:
    """Quotient; inf where ``below`` is 0."""
    quotient: NDArray[np.float64] = np.full(len(above), np.inf)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient
