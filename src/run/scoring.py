"""Scores of a whole split, in float32, whatever precision the run trained in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from src.config.schema.errors import UserError
from src.engines.float32 import exact_float32
from src.engines.parts import in_parts
from src.runfolder import Predictions


@torch.inference_mode()
def predict(
    model: nn.Module | Callable[[Tensor], Tensor],
    batches: Iterable[Mapping[str, Tensor]],
    *,
    device: str,
    class_names: Sequence[str],
) -> tuple[Predictions, list[int]]:
    """Probabilities for every image of a loader, ordered by image id, and the rows of the broken images it skipped.

    Args:
        model: uint8 images to logits: a network, which is put into evaluation mode, or an engine.
        batches: of ``image``, ``target``, ``image_id`` and ``skipped``.
        device: where to compute.
        class_names: the model's classes.
    """
    logits = model
    if isinstance(model, nn.Module):
        logits = partial(in_parts, model.eval().to(device))
    scores: list[Tensor] = []
    targets: list[Tensor] = []
    image_ids: list[Tensor] = []
    skipped: list[int] = []
    for batch in batches:
        skipped += batch["skipped"].tolist()
        if len(batch["image"]):
            images_BCHW = batch["image"].to(device, non_blocking=True)
            with exact_float32():
                scores.append(logits(images_BCHW).float().sigmoid().cpu())
            targets.append(batch["target"])
            image_ids.append(batch["image_id"])
    if not scores:
        raise UserError(
            f"none of the {len(skipped)} images of this split can be read; data.on_error=raise names the first"
        )
    ids_N = torch.cat(image_ids).numpy()
    order = np.argsort(ids_N, kind="stable")
    predictions = Predictions(
        torch.cat(scores).numpy()[order],
        torch.cat(targets).numpy().astype(np.uint8)[order],
        ids_N[order],
        tuple(class_names),
    )
    return predictions, skipped
