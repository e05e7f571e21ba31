"""A batch in parts gives what the whole batch gives, and holds less at a time."""

import pytest
import torch
from torch import Tensor, nn

from src.config.schema.model import MobileNetV2Config
from src.engines.build import torch_engine
from src.engines.parts import IMAGES_PER_THREAD, in_parts
from src.models.build import build_model
from src.run.scoring import predict
from tests.engines.conftest import CLASSES

PART = 3 * IMAGES_PER_THREAD


@pytest.fixture(autouse=True)
def three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as anybody asks."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


class Counting(nn.Module):
    """Notes how many images it is given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.sizes.append(len(images_BCHW))
        return images_BCHW.float().mean((2, 3))


@pytest.mark.parametrize(
    ("images", "parts"), [(0, [0]), (1, [1]), (PART, [PART]), (PART + 1, [PART, 1]), (3 * PART, [PART] * 3)]
)
def test_in_parts__of_at_most_so_many_images_in_order(images: int, parts: list[int]) -> None:
    network, batch = Counting(), torch.rand(images, 3, 2, 2)
    assert torch.equal(in_parts(network, batch), batch.mean((2, 3)))
    assert network.sizes == parts


def test_in_parts__elsewhere_than_on_a_cpu_the_batch_stays_whole() -> None:
    network = Counting()
    assert in_parts(network, torch.empty(5 * PART, 3, 2, 2, device="meta")).shape == (5 * PART, 3)
    assert network.sizes == [5 * PART]


@pytest.mark.parametrize("output_stride", [32, 8])
@torch.inference_mode()
def test_in_parts__the_logits_of_the_whole_batch(output_stride: int) -> None:
    """Matrix products of few rows are summed in another order, in any batch that is not full."""
    torch.manual_seed(0)
    model = build_model(MobileNetV2Config(output_stride=output_stride), num_classes=CLASSES).eval()
    images = torch.randint(0, 256, (2 * PART + 3, 3, 64, 64), dtype=torch.uint8)
    whole = model(images)
    assert (in_parts(model, images) - whole).abs().max() < 5e-6 * whole.abs().max()


def test_in_parts__is_how_a_split_is_scored_and_how_engines_of_torch_compute() -> None:
    scored, engine = Counting(), Counting()
    images, targets = torch.rand(PART + 2, 3, 2, 2), torch.zeros(PART + 2, 3, dtype=torch.uint8)
    batch = {
        "image": images, "target": targets, "image_id": torch.arange(len(images)),
        "skipped": torch.zeros(0, dtype=torch.int64),
    }  # fmt: skip
    predictions, _ = predict(scored, [batch], device="cpu", class_names=["a", "b", "c"])
    torch.testing.assert_close(torch.from_numpy(predictions.scores), images.mean((2, 3)).sigmoid())
    torch_engine(engine, "cpu", precision="fp32")(images)
    assert scored.sizes == engine.sizes == [PART, 2]
