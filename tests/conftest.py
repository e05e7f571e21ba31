"""Shared by all tests: threads, the composed smoke configuration, one small generated sample."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from src.config.check import to_dataclass
from src.config.names import CONF_DIR
from src.config.schema.root import TrainConfig
from src.config.store import register

ROOT = Path(__file__).resolve().parents[1]

Compose = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def _threads_as_they_were() -> Iterator[None]:
    """A test that sets them must set them back: a process forked after OpenMP's pool has grown hangs in it."""
    before = torch.get_num_threads()
    yield
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert after == before, f"this test left torch with {after} threads instead of {before}"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session: the small sample is drawn once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def smoke(cache_dir: Path) -> Compose:
    """Compose ``+experiment=smoke`` with further overrides."""
    register()

    def composed(*overrides: str) -> TrainConfig:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            wanted = ["+experiment=smoke", f"cache_dir={cache_dir}", "callbacks.progress=none", *overrides]
            config: TrainConfig = to_dataclass(compose("config", wanted))
        return config

    return composed


@pytest.fixture(scope="session")
def coco_real() -> Path:
    """Folder with real COCO images."""
    if "COCO_REAL" not in os.environ:
        pytest.skip("COCO_REAL is not set: no folder with real COCO images")
    return Path(os.environ["COCO_REAL"])
