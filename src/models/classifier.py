"""The model the rest of the project sees: uint8 images in, logits out, with a named head and freezable stages."""

from typing import Self

from torch import Tensor, nn


class Classifier(nn.Module):
    """Normalisation and network.

    Args:
        preprocess: images in [0, 255] to network input.
        network: normalised images [B, 3, H, W] to logits [B, C].
        head_name: the final linear layer's name inside ``network``.
        stage_names: module names inside ``network`` per stage, from the input on, without the head.
    """

    def __init__(
        self,
        preprocess: nn.Module,
        network: nn.Module,
        *,
        head_name: str,
        stage_names: tuple[tuple[str, ...], ...],
    ) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.network = network
        self.head_name = head_name
        self.stage_names = stage_names
        self.frozen_stages = 0

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 255], uint8 or float, to logits [B, C]."""
        logits_BC: Tensor = self.network(self.preprocess(images_BCHW))
        return logits_BC

    @property
    def head(self) -> nn.Linear:
        """The final linear layer."""
        head = self.network.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        return head

    @property
    def stages(self) -> list[nn.ModuleList]:
        """The parts that can be frozen, from the input on."""
        return [nn.ModuleList([self.network.get_submodule(name) for name in names]) for names in self.stage_names]

    def train(self, mode: bool = True) -> Self:
        """As ``nn.Module.train``, but frozen stages stay in evaluation: their batch norms keep their statistics.

        Lightning calls ``train()`` before every epoch, so this cannot be left to the caller.
        """
        super().train(mode)
        for stage in self.stages[: self.frozen_stages]:
            stage.eval()
        return self
