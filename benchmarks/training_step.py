"""Training steps on a device: ours as ``src.train`` does them, and those of the two peers that users know."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from src.config.schema.model import MobileNetV2Config
from src.config.schema.optim import AdamWConfig
from src.losses.modules import BCELoss
from src.models.build import build_model
from src.optim.build import build_optimizer
from src.optim.groups import param_groups
from src.run.compilation import compiled_forward

CLASSES = 80
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARMUP = 5
"""Steps before the clock starts: memory is found, kernels are chosen, graphs are recorded."""

Batch = Mapping[str, Tensor]
Step = Callable[[Batch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCase:
    """One way to run a step of MobileNetV2."""

    size: int = 224
    output_stride: int = 32
    precision: str = "bf16"
    compile: str = "off"
    backend: str | None = None
    """Of torch.compile; None generates code."""
    batch: int = 256

    @property
    def words(self) -> str:
        """In a few words."""
        return f"OS{self.output_stride}, {self.size} px, batch {self.batch}, {self.precision}, compile {self.compile}"


def our_step(case: StepCase, device: torch.device, *, changed: Callable[[nn.Module], None] = lambda _: None) -> Step:
    """The network, loss and optimizer of ``src.train`` without Lightning; uint8 images, channels_last.

    Args:
        case: which network, how.
        device: where.
        changed: what a peer's network has otherwise.
    """
    torch.manual_seed(0)
    model = build_model(MobileNetV2Config(output_stride=case.output_stride), num_classes=CLASSES).to(device).train()
    changed(model)
    cfg = AdamWConfig()
    optimizer = build_optimizer(cfg, param_groups(model, head=model.head, cfg=cfg))
    forward = model if case.compile == "off" else _compiled(model, case)
    return _step(forward, BCELoss(), optimizer, case, device)


def _compiled(model: nn.Module, case: StepCase) -> Callable[[Tensor], Tensor]:
    return compiled_forward(model, case.compile, batch_size=case.batch, backend=case.backend)


def timm_step(case: StepCase, device: torch.device) -> Step:
    """As timm's train.py with --amp --channels-last trains mobilenetv2_100."""
    import timm

    model = timm.create_model("mobilenetv2_100", num_classes=CLASSES, output_stride=case.output_stride).to(device)
    return _peer(model.to(memory_format=torch.channels_last).train(), case, device)


def torchvision_step(case: StepCase, device: torch.device) -> Step:
    """As torchvision's reference scripts with --amp train mobilenet_v2: NCHW, the loss read in every step."""
    from torchvision.models import mobilenet_v2

    return _peer(mobilenet_v2(num_classes=CLASSES).to(device).train(), case, device, channels_last=False, read=True)


def _peer(
    model: nn.Module, case: StepCase, device: torch.device, *, channels_last: bool = True, read: bool = False
) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(logits, targets.float())

    step = _step(model, loss, optimizer, case, device, read=read)
    floats: dict[int, Tensor] = {}

    def with_floats(batch: Batch) -> None:  # their loaders give float32: made before the clock starts
        key = id(batch)
        if key not in floats:
            floats[key] = (batch["image"].float() / 255).contiguous(memory_format=layout)
        step({**batch, "image": floats[key]})

    return with_floats


def _step(
    forward: Callable[[Tensor], Tensor],
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    case: StepCase,
    device: torch.device,
    *,
    read: bool = False,
) -> Step:
    scaler = torch.amp.GradScaler(device.type, enabled=case.precision == "fp16" and device.type == "cuda")
    narrow, kind = case.precision != "fp32", TYPES[case.precision]

    def step(batch: Batch) -> None:
        with torch.autocast(device.type, kind if narrow else None, enabled=narrow):
            loss = loss_of(forward(batch["image"]), batch["target"])
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        if read:
            loss.item()

    return step


def resident_batch(case: StepCase, device: torch.device) -> Batch:
    """A batch that is there already, as our loader makes it."""
    random = np.random.default_rng(0)
    images_BHWC = random.integers(0, 256, (case.batch, case.size, case.size, 3), np.uint8)
    targets_BC = (random.random((case.batch, CLASSES)) < 0.04).astype(np.uint8)
    return {
        "image": torch.from_numpy(images_BHWC).to(device).permute(0, 3, 1, 2),
        "target": torch.from_numpy(targets_BC).to(device),
    }


def warmed(step: Step, batch: Batch, device: torch.device, *, steps: int = WARMUP) -> float:
    """Seconds of the first steps, compilation included."""
    return timed(step, batch, device, steps)


def timed(step: Step, batch: Batch, device: torch.device, steps: int) -> float:
    """Seconds of ``steps`` steps, to the end of the device's work."""
    finish(device)
    started = time.perf_counter()
    for _ in range(steps):
        step(batch)
    finish(device)
    return time.perf_counter() - started


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@cache
def copy_rate(device: torch.device, *, size: int = 2**30) -> float:
    """Bytes read and written per second by a copy on the device; 0 on a CPU.

    Args:
        device: which one.
        size: bytes that are copied.
    """
    if device.type != "cuda":
        return 0.0
    source = torch.randint(256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rates = []
    for _ in range(10):
        finish(device)
        started = time.perf_counter()
        for _ in range(5):
            target.copy_(source)
        finish(device)
        rates.append(5 * 2 * size / (time.perf_counter() - started))
    return float(np.median(rates[2:]))


def peak_mb(device: torch.device) -> float:
    """Most memory of tensors since ``clear``, MB (2^20); 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


def clear(device: torch.device) -> None:
    """Forget compiled code, recorded graphs and cached memory of the case before."""
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def describe(device: torch.device) -> dict[str, Any]:
    """Which device gave the numbers."""
    if device.type != "cuda":
        return {"device": "cpu"}
    properties = torch.cuda.get_device_properties(device)
    return {"device": properties.name, "memory_gb": round(properties.total_memory / 1e9), "cuda": torch.version.cuda}
