"""What happens between two epochs: every metric, and thresholds, of one split's scores."""

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.findings import Finding, seconds
from benchmarks.measuring import BenchmarkError, clocked, interleave
from benchmarks.settings import Settings

PEER = "torchmetrics: exact AP, F1, PR curves"


def measure_epoch_end(settings: Settings) -> list[Finding]:
    """Ours is all that the task does (twenty scores, thresholds, a standard error); the peer's is AP, F1, best F1."""
    from src.run.assembly import tuned_f1

    torch.set_num_threads(1)
    num_images, num_classes = (400, 8) if settings.small else (40_000, 80)
    scores_NC, targets_NC = make_scores(num_images, num_classes)
    names = tuple(f"class {index}" for index in range(num_classes))
    tensors = torch.from_numpy(scores_NC), torch.from_numpy(targets_NC)
    answers: dict[str, float] = {}

    def ours() -> None:
        from src.metrics.functional import score_report

        found = score_report(*tensors)
        found |= tuned_f1(scores_NC, targets_NC, class_names=names, objective="map")
        answers["ours"] = found["map"]

    def peers() -> None:
        answers["peer"] = _torchmetrics(*tensors)

    turns = interleave(lambda: clocked(ours), lambda: clocked(peers), repeats=settings.repeats, warmup=1)
    if abs(answers["ours"] - answers["peer"]) > 1e-4:
        raise BenchmarkError(f"mAP differs: {answers}")
    what = f"metrics and thresholds, {num_images:,} x {num_classes}"
    return [Finding(row="epoch-end", what=what, peer=PEER, rule="ratio", target=10, **seconds(turns, settings.clock))]


def make_scores(num_images: int, num_classes: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scores as of a half-trained model: targets with COCO's long tail, logits two deviations apart."""
    random = np.random.default_rng(0)
    share_C = 0.5 / np.arange(1, num_classes + 1) ** 1.1
    targets_NC = (random.random((num_images, num_classes)) < share_C).astype(np.uint8)
    prior_C = np.log(share_C / (1 - share_C))
    logits_NC = prior_C + 2.0 * targets_NC + random.normal(0, 1.2, targets_NC.shape)
    return (1 / (1 + np.exp(-logits_NC))).astype(np.float32), targets_NC


def _torchmetrics(scores_NC: torch.Tensor, targets_NC: torch.Tensor) -> float:
    import torchmetrics.functional.classification as tm

    num_classes, targets_NC = scores_NC.shape[1], targets_NC.long()
    mean_ap = tm.multilabel_average_precision(scores_NC, targets_NC, num_classes, average="macro", thresholds=None)
    for average in ("micro", "macro"):
        tm.multilabel_f1_score(scores_NC, targets_NC, num_classes, average=average)
    curves = tm.multilabel_precision_recall_curve(scores_NC, targets_NC, num_classes, thresholds=None)
    for precision, recall, thresholds in zip(*curves, strict=True):
        f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-9)
        thresholds[f1[:-1].argmax()]
    return float(mean_ap)
