"""What is augmented."""

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="package")
def photo() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    noise = rng.integers(-20, 20, (180, 240, 3))
    smooth = cv2.resize(coarse, (240, 180), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)
