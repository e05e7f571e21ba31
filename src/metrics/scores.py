"""All scores of a split, gathered from every process."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class ScoreStore(Metric):
    """Keeps scores, targets and image ids; ``compute`` returns them once per image, in order of id.

    States stay on the model's device: 40,000 images of 80 classes are 16 MB, and torchmetrics' ``compute_on_cpu`` hands
    CPU tensors to the process group, which NCCL refuses. Processes may hold unequal shares, none included; an image
    that a sampler repeats to fill a share is kept once.
    """

    full_state_update = False

    scores: list[Tensor] | Tensor
    targets: list[Tensor] | Tensor
    image_ids: list[Tensor] | Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in ("scores", "targets", "image_ids"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, scores_BC: Tensor, targets_BC: Tensor, image_ids_B: Tensor) -> None:
        """Add a batch.

        Args:
            scores_BC: probabilities; kept as float32.
            targets_BC: multi-hot; kept as uint8.
            image_ids_B: kept as int64.
        """
        self._append(scores_BC.detach().float(), targets_BC.to(torch.uint8), image_ids_B.to(self.device, torch.int64))

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scores float32 [N, C], targets uint8 [N, C] and image ids int64 [N], rising and unique.

        Of a repeated image the first row in process order is kept.
        """
        self._fill_if_empty()
        scores_NC, targets_NC, image_ids_N = map(_joined, (self.scores, self.targets, self.image_ids))
        image_ids_N, order_N = image_ids_N.sort(stable=True)
        first_N = torch.ones_like(image_ids_N, dtype=torch.bool)
        first_N[1:] = image_ids_N[1:] != image_ids_N[:-1]
        kept_N = order_N[first_N]
        return scores_NC[kept_N], targets_NC[kept_N], image_ids_N[first_N]

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather from all processes.

        A process without images sends zero rows of the right shape and type; torchmetrics would send a float vector,
        which does not match the others' matrices.
        """
        self._fill_if_empty()
        super().sync(*args, **kwargs)

    def _fill_if_empty(self) -> None:
        if isinstance(self.scores, list) and not self.scores:
            no_rows = torch.zeros(0, self.num_classes, device=self.device)
            self._append(no_rows, no_rows.to(torch.uint8), no_rows[:, 0].to(torch.int64))

    def _append(self, scores_BC: Tensor, targets_BC: Tensor, image_ids_B: Tensor) -> None:
        for rows, batch in ((self.scores, scores_BC), (self.targets, targets_BC), (self.image_ids, image_ids_B)):
            assert isinstance(rows, list)  # tensors only between sync and unsync, when nothing is added
            rows.append(batch)


def _joined(rows: list[Tensor] | Tensor) -> Tensor:
    """One tensor of the batches; a synchronised state is one already."""
    return torch.cat(rows) if isinstance(rows, list) else rows
