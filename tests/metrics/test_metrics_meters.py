"""CountMeter and ScoreStore: parts and processes give what the whole gives."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from src.metrics.counts import CountMeter
from src.metrics.functional import MetricError, score_report
from src.metrics.scores import ScoreStore

GROUPS = [0, 1, 2, 1, 0]


def draw(images: int = 37) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(images, 5, generator=generator) * 50).round() / 50
    targets = (torch.rand(images, 5, generator=generator) < 0.4).to(torch.uint8)
    targets[:, 4] = 0
    image_ids = torch.randperm(10 * images, generator=generator)[:images]
    return scores, targets, image_ids


def expected_counts(scores: Tensor, targets: Tensor) -> dict[str, float]:
    report = score_report(scores, targets, groups_C=GROUPS)
    return {name: value for name, value in report.items() if name != "map"}


def test_count_meter__unequal_batches_equal_the_whole() -> None:
    scores, targets, _ = draw()
    meter = CountMeter(5, groups_C=GROUPS)
    for batch in zip(scores.split([20, 1, 3, 13]), targets.split([20, 1, 3, 13]), strict=True):
        meter.update(*batch)
    assert meter.compute() == pytest.approx(expected_counts(scores, targets), abs=1e-12)


def test_count_meter__reset_starts_again_even_in_inference_mode() -> None:
    scores, targets, _ = draw()
    meter = CountMeter(5, groups_C=GROUPS)
    with torch.inference_mode():
        meter.update(1 - scores, targets)
        meter.reset()
    meter.update(scores, targets)
    assert meter.compute() == pytest.approx(expected_counts(scores, targets), abs=1e-12)


def test_count_meter__logits_are_reported() -> None:
    meter = CountMeter(2)
    meter.update(torch.tensor([[0.2, 0.9]]), torch.tensor([[0, 1]]))
    meter.update(torch.tensor([[-3.0, 0.5]]), torch.tensor([[0, 1]]))
    with pytest.raises(MetricError, match="1 scores outside"):
        meter.compute()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_count_meter__without_images_says_so() -> None:
    with pytest.raises(MetricError, match="no images were counted"):
        CountMeter(2).compute()


def test_score_store__sorts_by_id_and_drops_repeats() -> None:
    scores, targets, image_ids = draw()
    store = ScoreStore(5)
    for part in torch.arange(37).split(8):
        store.update(scores[part], targets[part], image_ids[part])
    store.update(torch.zeros(2, 5), torch.ones(2, 5), image_ids[:2])
    got_scores, got_targets, got_ids = store.compute()
    order = image_ids.argsort()
    assert torch.equal(got_ids, image_ids[order])
    assert torch.equal(got_scores, scores[order])
    assert torch.equal(got_targets, targets[order])
    assert (got_scores.dtype, got_targets.dtype, got_ids.dtype) == (torch.float32, torch.uint8, torch.int64)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_score_store__without_images_is_empty() -> None:
    scores, targets, image_ids = ScoreStore(5).compute()
    assert (scores.shape, targets.shape, image_ids.shape) == ((0, 5), (0, 5), (0,))


def _score_a_share(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store_file = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store_file, rank=rank, world_size=2)
    scores, targets, image_ids = draw()
    results = {}
    # uneven: 25 and 14 images of which two are repeated; idle: the second process has none
    for name, shares in {"uneven": ((0, 25), (23, 37)), "idle": ((0, 37), (0, 0))}.items():
        store, meter = ScoreStore(5), CountMeter(5, groups_C=GROUPS)
        first, last = shares[rank]
        for start in range(first, last, 9):
            part = slice(start, min(start + 9, last))
            store.update(scores[part], targets[part], image_ids[part])
            meter.update(scores[part], targets[part])
        results[name] = (store.compute(), meter.compute(), sum(len(rows) for rows in store.scores))
    torch.save(results, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def test_meters__two_processes_equal_one(tmp_path: Path) -> None:
    # fork: a spawned process imports torch, torchvision and torchmetrics anew, some 20 s for the two
    mp.start_processes(_score_a_share, args=(str(tmp_path),), nprocs=2, start_method="fork")
    scores, targets, image_ids = draw()
    order = image_ids.argsort()
    with_repeats = torch.cat([torch.arange(25), torch.arange(23, 37)])
    for rank in range(2):
        results = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name in ("uneven", "idle"):
            (got_scores, got_targets, got_ids), counts, rows_after = results[name]
            assert torch.equal(got_scores, scores[order])
            assert torch.equal(got_targets, targets[order])
            assert torch.equal(got_ids, image_ids[order])
            counted = with_repeats if name == "uneven" else torch.arange(37)
            assert counts == pytest.approx(expected_counts(scores[counted], targets[counted]), abs=1e-12)
            assert rows_after == {"uneven": (25, 14), "idle": (37, 0)}[name][rank]
