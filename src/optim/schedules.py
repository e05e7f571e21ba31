"""Learning-rate schedules as functions of the optimizer step: factor on the peak rate, from 0 on, defined past the end.

A function of the step has no state to lose: a resumed run gets the same rates, also where it is made longer.
"""

import math

WARMUP_START = 0.01


def constant(step: int, *, warmup_steps: int) -> float:
    """Linear from 1 % to 1 over ``warmup_steps``, then 1."""
    if step >= warmup_steps:
        return 1.0
    return WARMUP_START + (1 - WARMUP_START) * step / warmup_steps


def cosine(step: int, *, total_steps: int, warmup_steps: int, final_ratio: float) -> float:
    """Linear warm-up, then half a cosine from 1 to ``final_ratio`` at the last step (Loshchilov and Hutter, 2017)."""
    if step < warmup_steps:
        return constant(step, warmup_steps=warmup_steps)
    return _anneal(1.0, final_ratio, _progress(step, warmup_steps, total_steps - 1))


def one_cycle(step: int, *, total_steps: int, pct_start: float, div_factor: float, final_div_factor: float) -> float:
    """Half a cosine up from 1 / div_factor, half a cosine down to 1 / (div_factor * final_div_factor).

    The values of torch's ``OneCycleLR`` (Smith and Topin, 2018), which raises one step past the end and divides by
    zero in runs of a few steps.
    """
    peak = max(pct_start * total_steps - 1, 0.0)
    if step < peak:
        return _anneal(1 / div_factor, 1.0, step / peak)
    return _anneal(1.0, 1 / (div_factor * final_div_factor), _progress(step, peak, total_steps - 1))


def _progress(step: int, start: float, end: float) -> float:
    return min(1.0, (step - start) / (end - start)) if end > start else float(step > start)


def _anneal(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
