"""One file to hand over, compared with the trained network before it is kept."""

import shutil
from pathlib import Path

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from torch.nn.functional import interpolate

from src.callbacks.checkpoint_io import load_checkpoint
from src.config.schema.engine import ExportConfig
from src.engines.build import build_engine, torch_engine
from src.engines.errors import EngineError
from src.engines.folding import fold_batch_norms
from src.engines.graph import load_pt2, run_module, to_pt2
from src.engines.parity import PARITY_IMAGES, Engine, Parity, compare
from src.models.classifier import Classifier
from src.report.tables import console
from src.run.assembly import restore_model
from src.run.engines import Source, calibration, engine_wish, metadata
from src.run.evaluation import run_config
from src.run.hardware import Hardware, choose
from src.runfolder import RunFolder, find_run, replacing

TOLERANCE = 1e-4
"""Of a float32 file: largest difference of a logit, as a share of the largest logit."""
INT8_TOLERANCE = 0.02
"""Of an int8 file: mean difference of a probability."""


def export(wish: ExportConfig) -> tuple[Path, Parity]:
    """Write a run's network as ONNX or ``.pt2``, print a table; the file and how far its answers are off.

    A float32 file answers generated patterns, in batches of two sizes; an int8 one images of train.

    Raises:
        EngineError: a package is missing, or the file answers otherwise than the network; no file is left then.
        UserError: no such run; for int8, the run's training images are gone.
    """
    run = RunFolder(find_run(wish.run, output_dir=wish.output_dir))
    run.read_json("thresholds.json")
    config = run_config(run)
    config.cache_dir = wish.cache_dir or config.cache_dir
    hardware = choose(device="cpu", precision="fp32", num_threads=0, num_workers=0)
    path = run.best if wish.checkpoint == "best" else run.last
    checkpoint = load_checkpoint(path)
    source = Source(run=run, config=config, checkpoint=path, stamp=checkpoint["stamp"])
    model = restore_model(config.model, checkpoint["state_dict"], len(source.stamp["class_names"]))
    target = _target(wish, run)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.unchecked{target.suffix}")
    try:
        engine = _write(wish, model, source, hardware, temporary)
        parity = _parity(engine, model, _images(wish, source, hardware))
        _refuse(wish, parity)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _print(wish, target, source, parity)
    return target, parity


def _target(wish: ExportConfig, run: RunFolder) -> Path:
    if wish.output:
        return Path(wish.output).expanduser()
    name = wish.checkpoint + ("_int8" if wish.precision == "int8" else "")
    return run.path / "exports" / f"{name}.{wish.format}"


def _write(wish: ExportConfig, model: Classifier, source: Source, hardware: Hardware, path: Path) -> Engine:
    """The file, and what computes with it."""
    if wish.format == "pt2":
        model.eval()
        content = to_pt2(fold_batch_norms(model), metadata(source), image_size=source.config.data.image_size)
        with replacing(path, "wb") as file:
            file.write(content)
        module = load_pt2(path)
        return lambda images_BCHW: run_module(module, images_BCHW)
    asked = engine_wish(
        source,
        hardware,
        engine="onnxruntime",
        precision=wish.precision,
        calibration_images=wish.calibration_images,
    )
    built = build_engine(model, asked, lambda: calibration(source, hardware, images=wish.calibration_images))
    assert built.graph is not None
    shutil.copyfile(built.graph, path)
    return built


def _images(wish: ExportConfig, source: Source, hardware: Hardware) -> Tensor:
    """What both are asked: coarse patterns, or for int8, whose scales hold for photographs only, images of train.

    Patterns of few large patches, because noise averages out: a network gives nearly one answer to all of it.
    """
    if wish.precision == "int8":
        return torch.cat(list(calibration(source, hardware, images=PARITY_IMAGES)))
    size = source.config.data.image_size
    patches = torch.from_numpy(np.random.default_rng(0).uniform(0, 256, (9, 3, 4, 4)))
    return interpolate(patches, size=size).byte()


def _parity(engine: Engine, model: Classifier, images_BCHW: Tensor) -> Parity:
    """The file's answers, the first alone and the others in one batch, beside the network's."""
    reference_BC = torch_engine(model.eval(), "cpu", precision="fp32")(images_BCHW)
    return compare(torch.cat([engine(images_BCHW[:1]), engine(images_BCHW[1:])]), reference_BC)


def _refuse(wish: ExportConfig, parity: Parity) -> None:
    if wish.precision == "int8":
        off, allowed, what = parity.probability_mean, INT8_TOLERANCE, "mean difference of probabilities"
    else:
        off, allowed = parity.logit_max / max(parity.logit_scale, 1e-6), TOLERANCE
        what = "largest difference of logits, as a share of the largest logit,"
    if not off <= allowed:
        way_out = "; calibration_images=1000, or precision=fp32" if wish.precision == "int8" else ""
        raise EngineError(f"the {wish.format} graph answers otherwise: {what} is {off:.3g}, allowed {allowed}{way_out}")


def _print(wish: ExportConfig, target: Path, source: Source, parity: Parity) -> None:
    table = Table(title=escape(str(target)), title_justify="left", title_style="bold", show_header=False)
    size = source.config.data.image_size
    rows = {
        "format": f"{wish.format}, {wish.precision}, {target.stat().st_size / 2**20:.1f} MB",
        "in": f"images: uint8 RGB [batch, 3, {size}, {size}], normalised inside",
        "out": f"logits [batch, {len(source.stamp['class_names'])}]; sigmoid gives probabilities",
        "inside": "class names, thresholds (global and per class), image size and resize",
        "difference": f"logits {parity.logit_max:.2g} of {parity.logit_scale:.3g}, "
        f"probabilities {parity.probability_max:.2g} at most, {parity.probability_mean:.2g} mean "
        f"({parity.images} images)",
    }
    for name, value in rows.items():
        table.add_row(name, escape(value))
    console().print(table)
