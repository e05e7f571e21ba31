"""The mean loss is torchmetrics' mean, to the last bit, without asking the device."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics import MeanMetric

from src.metrics.loss import MeanLoss

LOSSES = st.lists(
    st.tuples(st.floats(0, 1e6, width=32) | st.just(math.inf), st.integers(1, 512)), min_size=1, max_size=20
)


@given(LOSSES)
def test_mean_loss__is_torchmetrics_mean(losses: list[tuple[float, int]]) -> None:
    ours, theirs = MeanLoss(), MeanMetric()
    for loss, num_images in losses:
        ours.update(torch.tensor(loss), num_images)
        theirs.update(torch.tensor(loss), num_images)
    assert ours.compute() == theirs.compute()
    for name in ("mean_value", "weight"):  # a checkpoint of an older run goes on
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_mean_loss__leaves_nan_out() -> None:
    meter = MeanLoss()
    for loss, num_images in ((1.0, 2), (math.nan, 7), (4.0, 1)):
        meter.update(torch.tensor(loss), num_images)
    assert meter.compute().item() == 2.0
    meter.reset()
    meter.update(torch.tensor(5.0), 3)
    assert meter.compute().item() == 5.0


def test_mean_loss__takes_half_precision() -> None:
    meter = MeanLoss()
    for _ in range(100):
        meter.update(torch.tensor(0.5, dtype=torch.float16), 2048)  # the sum is far above float16's range
    assert meter.compute().item() == 0.5


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_mean_loss__is_nan_before_the_first_batch() -> None:
    assert MeanLoss().compute().isnan()
