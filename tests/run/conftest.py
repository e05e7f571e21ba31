"""Runs within this process; one finished run is shared by all tests that only read it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as skm

from src.config.schema.root import Job
from src.data.sample.synthetic import ensure_sample
from src.run.training import train
from src.runfolder import Predictions, RunFolder
from tests.conftest import Compose

SHORT = ("trainer.max_epochs=1", "debug.max_steps=2", "data.image_size=32")
"""Everything once in about a second."""

Run = Callable[..., RunFolder]


@pytest.fixture(scope="session")
def run(smoke: Compose) -> Run:
    """Train in this process into ``folder``; without a report, which takes longer than the training."""

    def trained(folder: Path, *overrides: str, resumed: bool = False) -> RunFolder:
        train(Job(smoke("report=false", *overrides), folder, list(overrides), resumed=resumed))
        return RunFolder(folder)

    return trained


@pytest.fixture(scope="session")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two epochs, not to be changed. It stays near p = 0.5, so that decisions at 0.5 are not all alike."""
    options = (
        "model.prior_bias=false",
        "model.head_std=0.1",
        "optimizer.lr=1e-4",
        "data.holdout=0.3",
        "report=true",
        "thresholds.bags=0",
    )
    return run(tmp_path_factory.mktemp("runs") / "smoke", *options)


@pytest.fixture
def finished_copy(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """The finished run, to be changed."""
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "copy")))


@pytest.fixture
def coco_folder(cache_dir: Path, tmp_path: Path) -> Path:
    """The small sample as a COCO folder of the user's, to be changed."""
    sample = ensure_sample(cache_dir, train_images=160, val_images=48, seed=7)
    return Path(shutil.copytree(sample, tmp_path / "coco"))


def reference_scores(found: Predictions, threshold: float | np.ndarray = 0.5) -> dict[str, float]:
    """The scores of section 5 of the design, by scikit-learn and definitions; macro means over classes with support."""
    truth, decided = found.targets.astype(int), (found.scores >= np.float32(threshold)).astype(int)
    present = np.flatnonzero(truth.any(axis=0))
    assert len(present)
    p, r, f, _ = skm.precision_recall_fscore_support(truth, decided, average=None, zero_division=0)
    op, oor, of1, _ = skm.precision_recall_fscore_support(truth, decided, average="micro", zero_division=0)
    cp, cr = p[present].mean(), r[present].mean()
    return {
        "map": skm.average_precision_score(truth[:, present], found.scores[:, present], average="macro"),
        "f1_micro": of1, "precision_micro": op, "recall_micro": oor,
        "of1": of1, "op": op, "or": oor,
        "f1_macro": f[present].mean(), "precision_macro": cp, "recall_macro": cr,
        "cp": cp, "cr": cr, "cf1": 2 * cp * cr / (cp + cr) if cp + cr else 0.0,
        "f1_macro_all": skm.f1_score(truth, decided, average="macro", zero_division=0),
        "f1_samples": skm.f1_score(truth, decided, average="samples", zero_division=1),
        "hamming": skm.hamming_loss(truth, decided),
        "accuracy": (truth == decided).mean(),
        "subset_accuracy": skm.accuracy_score(truth, decided),
        "num_classes_present": len(present),
    }  # fmt: skip
