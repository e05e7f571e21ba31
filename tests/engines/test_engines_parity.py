"""Differences between two sets of logits."""

import numpy as np
import pytest
import torch
from torch import Tensor

from src.engines.parity import Watched, compare


def test_compare__equals_brute_force() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(6, 4))
    found = reference + random.normal(scale=0.5, size=(6, 4))
    cuts = np.array([0.2, 0.5, 0.6, 0.9])
    parity = compare(torch.from_numpy(found), torch.from_numpy(reference), thresholds={"per_class": cuts})
    p, q = 1 / (1 + np.exp(-found)), 1 / (1 + np.exp(-reference))
    flips = sum((p[n, c] >= cuts[c]) != (q[n, c] >= cuts[c]) for n in range(6) for c in range(4))
    assert flips > 0
    assert parity.flipped == {"per_class": flips}
    assert (parity.images, parity.decisions) == (6, 24)
    assert parity.logit_max == pytest.approx(np.abs(found - reference).max())
    assert parity.logit_mean == pytest.approx(np.abs(found - reference).mean())
    assert parity.probability_max == pytest.approx(np.abs(p - q).max())
    assert parity.probability_mean == pytest.approx(np.abs(p - q).mean())
    assert parity.logit_scale == pytest.approx(np.abs(reference).max())


def test_watched__asks_the_reference_for_the_first_images_only() -> None:
    asked: list[int] = []

    def reference(images: Tensor) -> Tensor:
        asked.append(len(images))
        return images.float().sum((1, 2, 3))[:, None]

    watched = Watched(lambda images: reference(images) + 0.25, reference, limit=5)
    images = torch.arange(12.0).view(12, 1, 1, 1)
    answers = [watched(images[at : at + 4]) for at in range(0, 12, 4)]
    assert asked == [4, 4, 4, 1, 4]  # engine and reference by turns
    torch.testing.assert_close(torch.cat(answers)[:, 0], torch.arange(12.0) + 0.25)
    parity = watched.parity()
    assert (parity.images, parity.logit_max, parity.logit_mean) == (5, 0.25, 0.25)
