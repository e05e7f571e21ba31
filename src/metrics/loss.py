"""The mean loss of an epoch, added up where the loss is."""

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanLoss(Metric):
    """Mean over images of losses that are means over batches; NaN (nothing could be computed) is left out.

    As torchmetrics' ``MeanMetric``, down to the names of its states, which asks the device four times a step whether
    there is a NaN and where its numbers lie; here nothing waits.
    """

    full_state_update = False
    higher_is_better = False

    mean_value: Tensor
    """Sum over images, despite its name."""
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("mean_value", "weight"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, loss: Tensor, num_images: int) -> None:
        """Add a batch.

        Args:
            loss: scalar, mean over the batch.
            num_images: of the batch.
        """
        known = ~loss.isnan()
        self.mean_value = self.mean_value + torch.where(known, loss.float() * num_images, 0.0)
        self.weight = self.weight + known * float(num_images)

    def compute(self) -> Tensor:
        """Scalar; NaN before the first batch."""
        return self.mean_value / self.weight
