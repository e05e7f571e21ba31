"""Scores at a threshold while training: sums per class and per image, without keeping a score."""

import torch
from torch import Tensor
from torchmetrics import Metric

from src.metrics.functional import Counts, Groups, MetricError, Tally, count_invalid, count_report, decide, tally


class CountMeter(Metric):
    """Adds up counts over batches and processes; ``compute`` scores the sums (``count_report``), never batch means.

    Updates stay on the device without waiting for it; scores outside [0, 1] are counted there and reported by
    ``compute``. Under DDP an image that a sampler repeats to fill a share counts twice; where that matters, use
    ``ScoreStore``.
    """

    full_state_update = False
    higher_is_better = True

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor
    f1_samples_sum: Tensor
    num_exact: Tensor
    num_images: Tensor
    num_invalid: Tensor

    def __init__(self, num_classes: int, *, threshold: float = 0.5, groups_C: Groups | None = None) -> None:
        """Start at zero.

        Args:
            num_classes: C.
            threshold: a class is predicted where score >= threshold.
            groups_C: 0 head, 1 mid, 2 tail per class, [C]; None leaves the groups' scores out.
        """
        super().__init__()
        self.threshold, self.groups_C = threshold, groups_C
        for name in Counts._fields:
            self.add_state(name, torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("f1_samples_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("num_exact", "num_images", "num_invalid"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, scores_BC: Tensor, targets_BC: Tensor) -> None:
        """Add a batch of float32 probabilities and multi-hot targets."""
        batch = tally(decide(scores_BC.detach(), self.threshold), targets_BC)
        added = batch.counts._asdict() | {
            "f1_samples_sum": batch.f1_samples_sum,
            "num_exact": batch.num_exact,
            "num_images": batch.num_images,
            "num_invalid": count_invalid(scores_BC),
        }
        for name, value in added.items():  # out of place: a reset in inference mode leaves states that refuse in-place
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, float]:
        """Scores of all images so far.

        Raises:
            MetricError: no image was counted, or scores were no probabilities.
        """
        if num_invalid := int(self.num_invalid):
            raise MetricError(f"{num_invalid} scores outside [0, 1]: pass torch.sigmoid(logits.float())")
        counts = Counts(self.tp, self.fp, self.fn, self.tn)
        sums = Tally(counts, self.f1_samples_sum, self.num_exact, self.num_images)
        return count_report(sums, groups_C=self.groups_C)
