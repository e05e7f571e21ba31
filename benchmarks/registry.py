"""All rows, in the order of the table."""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.findings import Finding
from benchmarks.settings import Settings

Measure = Callable[[Settings], list[Finding]]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that can be measured alone.

    Attributes:
        name: what the command line calls it.
        title: one line.
        module: under ``benchmarks.rows``; its function ``measure_<name>`` does the work, - written as _.
        repeats: turns of each side where the user does not say.
        single_thread: whether it speaks of one core.
        needs: a module without which the row does not exist, ours or another peer's.
    """

    name: str
    title: str
    module: str
    repeats: int = 7
    single_thread: bool = False
    needs: str = "src"

    @property
    def available(self) -> bool:
        """Whether what it measures has been built."""
        try:
            return importlib.util.find_spec(self.needs) is not None
        except ModuleNotFoundError:  # its package is not there either
            return False

    def load(self) -> Measure:
        """The function that measures it."""
        module = importlib.import_module(f"benchmarks.rows.{self.module}")
        measure: Measure = getattr(module, f"measure_{self.name.replace('-', '_')}")
        return measure


ROWS = {
    row.name: row
    for row in (
        Row("index", "an instances json of train2017's size: built, and loaded from the cache", "index", 3, True),
        Row("originals", "original JPEG to augmented 224 x 224 batch, per core", "images", 7, True),
        Row(
            "raw-cache", "prepared raw images to augmented batch, per core", "images", 7, True, "src.data.store.shards"
        ),
        Row("ffcv", "prepared raw images to augmented batch, against FFCV", "ffcv", 7, True, "ffcv"),
        Row("tar-shards", "local tar shards to augmented batch, per core", "tar_shards", 7, True, "webdataset"),
        Row("epoch", "one epoch of src.train, end to end", "epoch", 3),
        Row("step", "Lightning and our callbacks, per step", "step", 5),
        Row("dilated", "training step at output stride 16, 8, 4, against plain convolutions", "dilated", 3),
        Row("epoch-end", "metrics and thresholds of 40,000 x 80 scores", "epoch_end", 7, True),
        Row("engines", "answers of a trained network on the CPU, batch 32", "engines", 7, needs="src.engines"),
        Row("gpu", "training step and its data on a GPU; skipped without one; at most nine minutes", "gpu", 3),
        Row("start-up", "a typo, --help, --cfg job", "startup", 7, True),
    )
}
