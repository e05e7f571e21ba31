"""Freezing stages from the input on, batch-norm statistics included."""

from src.models.classifier import Classifier
from src.models.errors import ModelError


def freeze_stages(model: Classifier, count: int) -> None:
    """Freeze the first ``count`` stages and let all others train.

    Frozen parameters get no gradient; frozen batch norms keep their running statistics through ``model.train()``.

    Raises:
        ModelError: where the network has fewer stages.
    """
    stages = model.stages
    if count > len(stages):
        raise ModelError(
            f"model.freeze={count}: the network has {len(stages)} stages; set model.freeze to at most that"
        )
    for index, stage in enumerate(stages):
        stage.requires_grad_(index >= count)
    model.frozen_stages = count
    model.train(model.training)


def unfreeze(model: Classifier) -> None:
    """Let every stage train again."""
    freeze_stages(model, 0)
