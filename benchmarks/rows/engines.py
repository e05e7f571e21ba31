"""Answers per second of a trained MobileNetV2 on the CPU, batches of 32 at 224 px."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.findings import Finding, per_item
from benchmarks.measuring import clocked, interleave
from benchmarks.settings import Settings

PEER = "eager PyTorch, float32, NCHW"
BATCH, SIDE, CLASSES, CALIBRATION = 32, 224, 80, 96
TARGETS = {"fp32": 6.0, "int8": 10.0}


def measure_engines(settings: Settings) -> list[Finding]:
    """Each engine against the network as users run it; the best of a precision carries the target.

    Weights and images are random: speed does not depend on them, accuracy is measured elsewhere (docs/inference.md).
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    side, batch = (64, 4) if settings.small else (SIDE, BATCH)
    images_BCHW = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    peer = _as_users_run_it(_network())
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for engine, precision in _combinations(small=settings.small):
            ours = _engine(engine, precision, side=side, threads=settings.threads, folder=Path(folder))
            turns = interleave(
                partial(clocked, partial(ours, images_BCHW)),
                partial(clocked, partial(peer, images_BCHW)),
                repeats=settings.repeats,
                warmup=1,
            )
            measured = per_item(turns, settings.clock, items=batch, unit="image")
            target = TARGETS[precision] if engine == "openvino" else None
            rule = "ratio" if target else "shown"
            what = f"{engine} {precision}"
            found.append(Finding(row="engines", what=what, peer=PEER, rule=rule, target=target, **measured))
    return found


def _combinations(*, small: bool) -> list[tuple[str, str]]:
    plain = [("folded", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")]
    return plain if small else [("torch", "fp32"), *plain, ("onnxruntime", "int8"), ("openvino", "int8")]


def _network() -> nn.Module:
    from src.config.schema.model import MobileNetV2Config
    from src.models.build import build_model

    network = build_model(MobileNetV2Config(), num_classes=CLASSES)
    with torch.no_grad():  # running statistics as of a trained network: activations neither vanish nor explode
        for _ in range(20):
            network.train()(torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8))
    return network.eval()


def _as_users_run_it(network: nn.Module) -> Callable[[Tensor], Tensor]:
    contiguous = network.to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def answers(images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = contiguous(images_BCHW)
        return logits_BC

    return answers


def _engine(engine: str, precision: str, *, side: int, threads: int, folder: Path) -> Callable[[Tensor], Tensor]:
    from src.engines.build import EngineWish, build_engine

    wish = EngineWish(
        engine=engine,
        precision=precision,
        device="cpu",
        threads=threads,
        image_size=side,
        folder=folder,
        weights="random",
        metadata={},
        calibration_images=CALIBRATION,
    )
    torch.manual_seed(0)
    calibration = torch.split(torch.randint(0, 256, (CALIBRATION, 3, side, side), dtype=torch.uint8), BATCH)
    return build_engine(_network(), wish, lambda: calibration)
