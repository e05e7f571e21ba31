"""One epoch of ``src.train`` against the plain script, whole processes from the command line to the last file."""

import tempfile
from pathlib import Path

from benchmarks.findings import Finding, memory, seconds
from benchmarks.measuring import Spent, interleave, python, run_process
from benchmarks.photos import ensure_layout
from benchmarks.settings import Settings

PEER = "Lightning + torchvision script, defaults"
TRAIN_IMAGES, VAL_IMAGES = 1024, 256


def measure_epoch(settings: Settings) -> list[Finding]:
    """Wall and CPU time, and memory, of one epoch at 224 px, batch 32, MobileNetV2 of output stride 32."""
    train, val = (64, 32) if settings.small else (TRAIN_IMAGES, VAL_IMAGES)
    root = settings.coco or ensure_layout(settings, train=train, val=val)
    size = 32 if settings.small else 224
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        turns = interleave(
            lambda: _ours(root, Path(folder), size), lambda: _peer(root, Path(folder), size), repeats=settings.repeats
        )
    note = f"{root.name}; process start, index, epoch, scores" + ("" if settings.coco else "; ours also the report")
    return [
        Finding(
            row="epoch", what="one epoch, end to end", peer=PEER, rule="ratio", target=3.5, note=note,
            **seconds(turns, settings.clock),
        ),
        Finding(row="epoch", what="largest process: peak memory", peer=PEER, **memory(turns)),
    ]  # fmt: skip


def _ours(root: Path, folder: Path, size: int) -> Spent:
    with tempfile.TemporaryDirectory(dir=folder) as fresh:  # no index from the turn before
        return run_process(
            python(
                "-m", "src.train", "data=coco2017", f"data.root={root}", f"data.image_size={size}",
                "data.batch_size=32", "trainer.max_epochs=1", "callbacks.progress=none",
                f"output_dir={fresh}/out", f"cache_dir={fresh}/cache",
            )
        )  # fmt: skip


def _peer(root: Path, folder: Path, size: int) -> Spent:
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        return run_process(
            python("-m", "benchmarks.scripts.plain_training", "--root", root, "--size", size, "--output", fresh)
        )
