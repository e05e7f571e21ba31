"""The training step of dilated networks: depthwise convolutions on sub-grids against the library's own."""

import torch
from torch import nn

from benchmarks.findings import Finding, per_item
from benchmarks.measuring import Spent, clocked, interleave
from benchmarks.settings import Settings
from benchmarks.training_step import Step, StepCase, finish, our_step, resident_batch, warmed
from src.models.depthwise import DilatedDepthwise
from src.process import keep_freed_memory

BATCH = {"cpu": {16: 32, 8: 16, 4: 4}, "cuda": {8: 256, 4: 64}}
"""By output stride; at 16 and in fp16 a GPU takes the library's convolutions on both sides."""


def measure_dilated(settings: Settings) -> list[Finding]:
    """Seconds a step by output stride, on the GPU where there is one (fp16), else on the CPU (float32)."""
    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    strides = list(BATCH[device.type])
    return [_at(stride, settings, device) for stride in (strides[:1] if settings.small else strides)]


def _at(output_stride: int, settings: Settings, device: torch.device) -> Finding:
    on_gpu = device.type == "cuda"
    case = StepCase(
        size=32 if settings.small else 224,
        output_stride=output_stride,
        precision="fp16" if on_gpu else "fp32",
        batch=2 if settings.small else BATCH[device.type][output_stride],
    )
    data, times = resident_batch(case, device), 10 if on_gpu else 1
    ours, plain = our_step(case, device), our_step(case, device, changed=_plain)
    for step in (ours, plain):
        warmed(step, data, device, steps=2)

    def turn(step: Step) -> Spent:
        def steps() -> None:
            for _ in range(times):
                step(data)
            finish(device)

        return clocked(steps)

    turns = interleave(lambda: turn(ours), lambda: turn(plain), repeats=settings.repeats)
    return Finding(
        row="dilated", what=f"step on the {'GPU' if on_gpu else 'CPU'}, {case.words}",
        peer="the same with the library's dilated depthwise convolutions", rule="ratio", target=1.0,
        **per_item(turns, settings.clock, items=times * case.batch, unit="image"),
    )  # fmt: skip


def _plain(model: nn.Module) -> None:
    """Put torch's convolutions in the place of ours."""
    for name, ours in list(model.named_modules()):
        if isinstance(ours, DilatedDepthwise):
            count, padding, dilation = ours.in_channels, int(ours.padding[0]), ours.dilation[0]
            theirs = nn.Conv2d(count, count, 3, padding=padding, dilation=dilation, groups=count, bias=False)
            model.set_submodule(name, theirs.to(ours.weight.device).to(memory_format=torch.channels_last))
