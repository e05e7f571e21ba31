"""Scores of a whole split, in float32, whatever precision the run trained in."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from src.runfolder import Predictions


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[Mapping[str, Tensor]], *, device: str, class_names: Sequence[str]
) -> Predictions:
    """Probabilities for every image of a loader, ordered by image id.

    Args:
        model: uint8 images to logits; is put into evaluation mode.
        batches: of ``image``, ``target``, ``image_id``; broken images have been left out by the loader.
        device: where to compute.
        class_names: the model's classes.
    """
    model.eval().to(device)
    scores: list[Tensor] = []
    targets: list[Tensor] = []
    image_ids: list[Tensor] = []
    for batch in batches:
        if len(batch["image"]):
            images_BCHW = batch["image"].to(device, non_blocking=True)
            scores.append(model(images_BCHW).float().sigmoid().cpu())
            targets.append(batch["target"])
            image_ids.append(batch["image_id"])
    ids_N = torch.cat(image_ids).numpy()
    order = np.argsort(ids_N, kind="stable")
    return Predictions(
        torch.cat(scores).numpy()[order],
        torch.cat(targets).numpy().astype(np.uint8)[order],
        ids_N[order],
        tuple(class_names),
    )
