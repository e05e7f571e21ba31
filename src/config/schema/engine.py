"""What computes a trained network, and in which numbers."""

from dataclasses import dataclass

from src.config.schema.rules import MISSING, require, require_choice

FORMATS = ("onnx", "pt2")
PRECISIONS = ("fp32", "bf16", "int8")
SUPPORTED: dict[str, tuple[str, ...]] = {
    "torch": ("fp32", "bf16"),
    "folded": ("fp32", "bf16"),
    "onnxruntime": ("fp32", "int8"),
    "openvino": PRECISIONS,
    "auto": PRECISIONS,
}
"""Precisions of each engine."""


@dataclass(slots=True, kw_only=True)
class EngineConfig:
    """Keys of every command that only asks a trained network for its answers."""

    engine: str = "torch"
    """torch | folded (without batch norms) | onnxruntime | openvino (both on the CPU) | auto."""
    precision: str = "fp32"
    """fp32 | bf16 | int8 (onnxruntime and openvino, calibrated on training images)."""
    calibration_images: int = 300
    """Training images that precision=int8 is calibrated on."""

    def __post_init__(self) -> None:
        require_choice("engine", self.engine, tuple(SUPPORTED))
        require_choice("precision", self.precision, PRECISIONS)
        able = [name for name, precisions in SUPPORTED.items() if self.precision in precisions]
        rule = f"not with engine={self.engine}; engine={' | '.join(able)}"
        require(self.engine not in SUPPORTED or self.engine in able or not able, "precision", self.precision, rule)
        require_calibration(self.calibration_images)


def require_calibration(images: int) -> None:
    """Report too few ``calibration_images``."""
    require(images >= 32, "calibration_images", images, "must be >= 32: ranges of activations are read from them")


@dataclass(slots=True, kw_only=True)
class ExportConfig:
    """Hand over a finished run's network as one file that needs none of this project."""

    run: str = MISSING
    """Run folder, latest, or a sweep's job folder."""
    format: str = "onnx"
    """onnx | pt2 (torch.export)."""
    precision: str = "fp32"
    """fp32 | int8 (onnx; calibrated on training images)."""
    output: str | None = None
    """File to write; null writes RUN/exports/best.FORMAT, or best_int8.FORMAT."""
    checkpoint: str = "best"
    """best | last."""
    calibration_images: int = 300
    """Training images that precision=int8 is calibrated on."""
    output_dir: str = "outputs"
    """Where run=latest looks."""
    cache_dir: str | None = None
    """Where indexes are cached; null takes the run's."""

    def __post_init__(self) -> None:
        require_choice("format", self.format, FORMATS)
        require_choice("precision", self.precision, ("fp32", "int8"))
        require_choice("checkpoint", self.checkpoint, ("best", "last"))
        possible = not (self.format == "pt2" and self.precision == "int8")
        require(possible, "precision", self.precision, "a .pt2 file is float32; format=onnx")
        fits = self.output is None or self.output.endswith(f".{self.format}")
        require(fits, "output", self.output, f"must end in .{self.format}, or choose another format=")
        require_calibration(self.calibration_images)
