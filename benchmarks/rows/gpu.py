"""The training step on a GPU: its speed in all variants, against the peers, and fed from each source.

Cases come in the order of their worth and end when the time is spent; what was left out is said. ``--small`` runs a few
of them on whatever device there is.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.feeding import SOURCES, feed, loader_of, prepare_caches
from benchmarks.findings import Finding
from benchmarks.measuring import SkippedError
from benchmarks.photos import ensure_layout
from benchmarks.settings import Settings, usable_cores
from benchmarks.training_step import (
    Batch,
    Step,
    StepCase,
    clear,
    copy_rate,
    describe,
    our_step,
    peak_mb,
    resident_batch,
    timed,
    timm_step,
    torchvision_step,
    warmed,
)
from src.config.schema.model import MobileNetV2Config
from src.data.device.decode import why_not
from src.run.batch_size import choose_batch_size
from src.run.hardware import Hardware

BUDGET = 480.0
"""Seconds after which no further case begins; the longest one takes about 60."""
TURN = 0.6
"""Seconds of one turn, about."""
MEGABYTES = {
    (32, 224): (249, 80.7), (32, 256): (326, 105), (16, 224): (293, 94.3), (16, 256): (384, 123),
    (8, 224): (614, 196), (8, 256): (811, 256),
}  # fmt: skip
"""Bytes that an image's step moves in 16 bits by output stride and size, 10^6: kernels one by one, ideally fused."""

Case = tuple[str, Callable[[], list[Finding]]]


def measure_gpu(settings: Settings) -> list[Finding]:
    """Images per second of steps and of steps that are fed, peers, memory; within nine minutes.

    Raises:
        SkippedError: no CUDA device, and the run is not a small one.
    """
    started = time.monotonic()
    has_cuda = torch.cuda.is_available()
    if not has_cuda and not settings.small:
        raise SkippedError("no CUDA device is visible to torch")
    device = torch.device("cuda" if has_cuda else "cpu")
    torch.set_float32_matmul_precision("high")
    findings: list[Finding] = []
    left_out: list[str] = []
    for title, measure in _cases(settings, device):
        if time.monotonic() - started > BUDGET:
            left_out.append(title)
            continue
        clear(device)
        try:
            findings += measure()
        except (RuntimeError, ImportError) as error:  # no memory, no timm, a compiler that fails: the others stand
            reason = (str(error) or type(error).__name__).splitlines()[0][:200]
            findings.append(_shown(f"failed: {title}: {reason}", "cases", (1.0,)))
    if left_out:
        findings.append(
            _shown(f"left out after {BUDGET:.0f} s: {'; '.join(left_out)}", "cases", (float(len(left_out)),))
        )
    return findings


def _cases(settings: Settings, device: torch.device) -> Iterator[Case]:
    small = settings.small
    precisions = ("fp16", "bf16") if device.type == "cuda" else ("fp32",)
    sizes, strides = ((32,), (32,)) if small else ((224, 256), (32, 16, 8, 4))
    eager = [
        _case(size, stride, precision, "off", small, device)
        for stride in strides for size in sizes for precision in precisions
    ]  # fmt: skip
    yield from (_step_case(case, settings, device) for case in eager)
    main = eager[-1] if small else _case(224, 32, "fp16", "off", small, device)
    for peer, build in (("timm, --amp --channels-last", timm_step), ("torchvision, --amp", torchvision_step)):
        yield f"against {peer}", partial(_against, main, peer, build, settings, device)
    if not small:
        dilated = _case(224, 8, "fp16", "off", small, device)
        yield "against timm at output stride 8", partial(_against, dilated, "timm, --amp", timm_step, settings, device)
    root = ensure_layout(settings, train=16 if small else 8192, val=8)
    yield "caches written", partial(_prepared, root, settings, main)
    yield from ((f"fed from {source}", partial(_fed, source, root, main, settings, device)) for source in SOURCES)
    for case in _compiled(main, small=small, device=device):
        yield _step_case(case, settings, device)


def _compiled(main: StepCase, *, small: bool, device: torch.device) -> Iterator[StepCase]:
    """What each mode does to a large batch and to a small one, then to other strides and sizes."""
    if small:
        backend = None if device.type == "cuda" else "eager"  # code for a CPU takes minutes to generate
        yield replace(main, compile="default", backend=backend)
        return
    for compiled in ("default", "reduce-overhead", "max-autotune-no-cudagraphs"):
        yield _case(main.size, 32, "fp16", compiled, small, device)
    for compiled in ("off", "default", "reduce-overhead"):
        yield StepCase(size=224, precision="fp16", compile=compiled, batch=16)
    for stride, size in ((16, 224), (8, 224), (4, 224), (32, 256), (8, 256)):
        yield _case(size, stride, "bf16", "default", small, device)


def _case(size: int, stride: int, precision: str, compiled: str, small: bool, device: torch.device) -> StepCase:
    batch = 4 if small else _batch(size, stride, device)
    return StepCase(size=size, output_stride=stride, precision=precision, compile=compiled, batch=batch)


def _batch(size: int, stride: int, device: torch.device) -> int:
    """As ``data.batch_size=0`` would choose."""
    hardware = Hardware(device.type, "", "bf16-mixed", "", threads=1, num_workers=0)
    network = MobileNetV2Config(output_stride=stride)
    return choose_batch_size(network, num_classes=80, image_size=size, hardware=hardware).batch_size


def _step_case(case: StepCase, settings: Settings, device: torch.device) -> Case:
    return case.words, partial(_alone, case, settings, device)


def _alone(case: StepCase, settings: Settings, device: torch.device) -> list[Finding]:
    step, batch = our_step(case, device), resident_batch(case, device)
    first = warmed(step, batch, device)
    steps = _steps(step, batch, settings, device)
    rates = tuple(steps * case.batch / timed(step, batch, device, steps) for _ in range(settings.repeats))
    what = f"step, {case.words}; peak {peak_mb(device):,.0f} MB, first steps {first:.1f} s"
    return [_shown(what, "images/s", rates, peer=_roof(case, copy_rate(device)), note=str(describe(device)))]


def _roof(case: StepCase, bytes_per_second: float) -> str:
    """Images per second that the memory at hand allows."""
    moved = MEGABYTES.get((case.output_stride, case.size))
    if moved is None or not bytes_per_second:
        return "no roof was computed"
    alone, fused = (bytes_per_second / (1e6 * megabytes) for megabytes in moved)
    return f"memory roof at {bytes_per_second / 1e12:.2f} TB/s: {alone:,.0f}, fused {fused:,.0f}"


def _against(
    case: StepCase, peer: str, build: Callable[[StepCase, torch.device], Callable[..., None]], settings: Settings,
    device: torch.device,
) -> list[Finding]:  # fmt: skip
    batch, sides = resident_batch(case, device), (our_step(case, device), build(case, device))
    for step in sides:
        warmed(step, batch, device)
    steps = _steps(sides[0], batch, settings, device)
    turns = [[1000 * timed(step, batch, device, steps) / steps / case.batch for step in sides]
             for _ in range(settings.repeats)]  # fmt: skip
    ours, peers = (tuple(one) for one in zip(*turns, strict=True))
    what = f"step, {case.words}"
    return [Finding(row="gpu", what=what, peer=peer, unit="ms wall / image", ours=ours, peers=peers)]


def _prepared(root: Path, settings: Settings, case: StepCase) -> list[Finding]:
    started = time.perf_counter()
    prepare_caches(root, settings.folder / "cache", size=case.size)
    return [_shown("jpeg and raw cache written, both processes", "s wall", (time.perf_counter() - started,))]


def _fed(source: str, root: Path, case: StepCase, settings: Settings, device: torch.device) -> list[Finding]:
    """Against the same step on a batch that is there: what is missing to 1 is the share that data costs."""
    if "decoded" in source and (reason := why_not(device)):
        return [_shown(f"skipped: {source}: {reason}", "cases", (1.0,))]
    workers = 0 if settings.small else min(16, usable_cores())
    data = loader_of(source, root, settings.folder / "cache", case, device, workers=workers)
    step, batch = our_step(case, device), resident_batch(case, device)
    warmed(step, batch, device)
    steps = _steps(step, batch, settings, device)
    alone = 1000 * timed(step, batch, device, steps) / steps / case.batch
    fed = feed(data, step, device, batch=case.batch, seconds=0.0 if settings.small else 6.0)
    own = 1000 / fed.images_per_second
    what = f"{source}, {workers} processes, {case.words}: {fed.images_per_second:,.0f} images/s"
    waited = f"host waited {fed.waiting:.0%} of the time; peak {peak_mb(device):,.0f} MB"
    peer = f"the same step without data ({waited})"
    return [Finding(row="gpu", what=what, peer=peer, unit="ms wall / image", ours=(own,), peers=(alone,), note=waited)]


def _steps(step: Step, batch: Batch, settings: Settings, device: torch.device) -> int:
    """So many that a turn takes about ``TURN``."""
    if settings.small:
        return 2
    return min(100, max(5, round(2 * TURN / timed(step, batch, device, 2))))


def _shown(what: str, unit: str, values: tuple[float, ...], *, peer: str = "-", note: str = "") -> Finding:
    return Finding(row="gpu", what=what, peer=peer, unit=unit, ours=values, note=note)
