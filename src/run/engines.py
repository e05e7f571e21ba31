"""The engine of a finished run: its weights, what an exported graph says of itself, images to calibrate on."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from src.config.schema.engine import EngineConfig
from src.config.schema.errors import ConfigError
from src.config.schema.root import TrainConfig
from src.engines.build import BuiltEngine, EngineWish, build_engine, choose_engine
from src.run.assembly import build_data
from src.run.hardware import Hardware
from src.runfolder import RunFolder

CPU_ENGINES = ("onnxruntime", "openvino")


def engine_device(wish: EngineConfig, device: str) -> str:
    """The device to ask for: engines that know only the CPU turn ``auto`` into ``cpu``.

    Raises:
        ConfigError: such an engine on a GPU.
    """
    if wish.engine not in CPU_ENGINES:
        return device
    if device == "cuda":
        raise ConfigError(f"engine={wish.engine}: computes on the CPU; device=cpu, or engine=folded device=cuda")
    return "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run's network and what belongs to it."""

    run: RunFolder
    config: TrainConfig
    """With the cache folder to use."""
    checkpoint: Path
    stamp: dict[str, Any]
    """The checkpoint's, see ``src.run.assembly.stamp``."""


def run_engine(model: nn.Module, wish: EngineConfig, source: Source, hardware: Hardware) -> tuple[BuiltEngine, str]:
    """What computes a run's network, and a line on it for the reader.

    Args:
        model: with the checkpoint's weights.
        wish: the engine's keys of the command.
        source: where the weights come from.
        hardware: device and threads.
    """
    name, why = (wish.engine, "asked for")
    if wish.engine == "auto":
        name, why = choose_engine(device=hardware.device, precision=wish.precision)
    asked = engine_wish(
        source,
        hardware,
        engine=name,
        precision=wish.precision,
        calibration_images=wish.calibration_images,
    )
    built = build_engine(model, asked, lambda: calibration(source, hardware, images=wish.calibration_images))
    return built, f"engine {built.name}, {built.precision} ({why})"


def engine_wish(
    source: Source, hardware: Hardware, *, engine: str, precision: str, calibration_images: int
) -> EngineWish:
    """An engine for a run's weights."""
    return EngineWish(
        engine=engine,
        precision=precision,
        device=hardware.device,
        threads=hardware.threads,
        image_size=source.config.data.image_size,
        folder=source.run.path / "exports" / "cache",
        weights=hashlib.sha256(source.checkpoint.read_bytes()).hexdigest(),
        metadata=metadata(source),
        calibration_images=calibration_images,
    )


def metadata(source: Source) -> dict[str, Any]:
    """What a graph must say to be used alone: classes, thresholds, and how its images are to be made."""
    names = list(source.stamp["class_names"])
    return {
        "task": "multi-label classification: class c is there where sigmoid(logits[c]) >= threshold",
        "class_names": names,
        **_thresholds(source.run, names),
        "images": "uint8, RGB, [batch, 3, height, width]; normalisation is inside",
        "image_size": source.stamp["image_size"],
        "resize": source.stamp["resize"],
    }


def _thresholds(run: RunFolder, class_names: list[str]) -> dict[str, Any]:
    """Nothing where the run ended before they were fitted."""
    if not (run.path / "thresholds.json").is_file():
        return {}
    found = run.read_json("thresholds.json")
    return {
        "threshold_global": found["global"],
        "thresholds_per_class": [found["per_class"][name] for name in class_names],
        "thresholds_fitted_on": found["fitted_on"],
    }


def calibration(source: Source, hardware: Hardware, *, images: int) -> Iterable[Tensor]:
    """Training images of the run as the network sees them in evaluation, chosen by the run's seed."""
    config = replace(source.config, debug=replace(source.config.debug, max_steps=0))
    for batch in build_data(config, hardware).calibration_loader(images):
        if len(batch["image"]):
            yield batch["image"]
