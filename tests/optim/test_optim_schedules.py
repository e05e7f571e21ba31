import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import OneCycleLR

from src.optim.schedules import constant, cosine, one_cycle


@pytest.mark.parametrize("total_steps", [10, 57, 1000])
@pytest.mark.parametrize(("pct_start", "div", "final_div"), [(0.2, 25.0, 1e4), (0.35, 1.0, 10.0), (0.9, 5.0, 1.0)])
def test_one_cycle__equals_torch(total_steps, pct_start, div, final_div):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.7)
    reference = OneCycleLR(
        optimizer,
        max_lr=0.7,
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=div,
        final_div_factor=final_div,
        cycle_momentum=False,
    )
    for step in range(total_steps):
        factor = one_cycle(
            step, total_steps=total_steps, pct_start=pct_start, div_factor=div, final_div_factor=final_div
        )
        assert 0.7 * factor == pytest.approx(reference.get_last_lr()[0], rel=1e-9, abs=1e-15)
        optimizer.step()
        reference.step()


@given(
    step=st.integers(0, 300),
    total_steps=st.integers(1, 200),
    pct_start=st.floats(0.001, 0.999),
    div=st.floats(1, 1e3),
    final_div=st.floats(1, 1e6),
)
def test_one_cycle__bounded_at_any_length_and_step(step, total_steps, pct_start, div, final_div):
    factor = one_cycle(step, total_steps=total_steps, pct_start=pct_start, div_factor=div, final_div_factor=final_div)
    lowest = 1 / (div * final_div)
    assert lowest - 1e-12 <= factor <= 1 + 1e-12
    if step >= total_steps > 1:
        assert factor == pytest.approx(lowest, abs=1e-12)


def test_cosine__endpoints_middle_and_past_the_end():
    def at(step: int) -> float:
        return cosine(step, total_steps=111, warmup_steps=10, final_ratio=0.1)

    assert at(0) == pytest.approx(0.01)
    assert at(5) == pytest.approx(0.505)
    assert at(10) == 1.0
    assert at(60) == pytest.approx(0.55)
    assert at(110) == at(500) == pytest.approx(0.1)
    assert at(35) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)


@given(total=st.integers(1, 100), share=st.floats(0, 1), ratio=st.floats(0, 1), step=st.integers(0, 200))
def test_cosine__rises_then_falls_within_bounds(total, share, ratio, step):
    warmup = int(total * share)
    here, after = (cosine(s, total_steps=total, warmup_steps=warmup, final_ratio=ratio) for s in (step, step + 1))
    assert 0 <= here <= 1 + 1e-12
    assert after >= here if step < warmup else after <= here + 1e-12


def test_constant__warm_up_then_one():
    assert [constant(s, warmup_steps=4) for s in range(6)] == pytest.approx([0.01, 0.2575, 0.505, 0.7525, 1, 1])
    assert constant(0, warmup_steps=0) == 1.0
