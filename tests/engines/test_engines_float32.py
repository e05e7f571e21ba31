"""Scores are computed in full float32, and what was allowed before is allowed again."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from src.engines.build import torch_engine
from src.engines.float32 import exact_float32
from src.run.scoring import predict


def allowed() -> tuple[bool, str]:
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.fixture
def loose() -> Iterator[None]:
    """As after ``src.train`` has begun."""
    before = allowed()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


class Noting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, str]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(allowed())
        return images.float().mean((2, 3))


@pytest.mark.usefixtures("loose")
def test_exact_float32__is_restored_after_an_error_too() -> None:
    def failing() -> None:
        with exact_float32():
            seen.append(allowed())
            raise ZeroDivisionError

    seen: list[tuple[bool, str]] = []
    with pytest.raises(ZeroDivisionError):
        failing()
    assert seen == [(False, "highest")]
    assert allowed() == (True, "high")


@pytest.mark.usefixtures("loose")
def test_engines_and_scoring__compute_in_it() -> None:
    network = Noting()
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    torch_engine(network, "cpu", precision="fp32")(images)
    batch = {"image": images, "target": torch.zeros(2, 3), "image_id": torch.arange(2), "skipped": torch.zeros(0)}
    predict(network, [batch], device="cpu", class_names=list("abc"))
    assert network.seen == [(False, "highest")] * 2
    assert allowed() == (True, "high")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: TF32 against float32")
def test_torch_engine__on_cuda_gives_the_scores_of_the_cpu() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.randint(0, 256, (9, 3, 32, 32)).float() / 255
    expected = torch_engine(network, "cpu", precision="fp32")(images)
    engine = torch_engine(network.cuda(), "cuda", precision="fp32")
    for size in (1, 4, 9):
        found = torch.cat([engine(part).cpu() for part in images.split(size)])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
