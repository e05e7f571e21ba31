"""The batch that fits: from what autograd keeps, counted without computing."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from src.config.schema.model import MobileNetV2Config
from src.models.mobilenet_v2 import MobileNetV2
from src.run.batch_size import bytes_kept_per_image, choose, choose_batch_size
from src.run.hardware import Hardware
from tests.run.conftest import Run


def test_bytes_kept__are_those_of_a_real_pass() -> None:
    network = MobileNetV2(80, output_stride=16).train()
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, tuple[Tensor, int]] = {}

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = (tensor, tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = network(torch.randn(8, 3, 64, 64))
    assert out.requires_grad
    real = sum(size for _, size in kept.values()) / 8
    assert bytes_kept_per_image(network, 64) == pytest.approx(real, rel=0.02)


def test_bytes_kept__recomputing_keeps_less() -> None:
    plain, saving = (MobileNetV2(80, output_stride=4, recompute=on) for on in (False, True))
    assert bytes_kept_per_image(saving, 96) < 0.25 * bytes_kept_per_image(plain, 96)


@pytest.mark.parametrize(
    ("free", "expected", "why"),
    [
        (1e12, 32, "no larger one is chosen"),
        (1e9, 4, "8 would not fit"),
        (1e6, 1, "2 would not fit"),
    ],
)
def test_choose__a_power_of_two_within_the_memory(free: float, expected: int, why: str) -> None:
    found = choose(1e8, free=free, constant=1e8, largest=32)
    assert found.batch_size == expected
    assert why in found.reason
    assert expected == 1 or expected * 1e8 + 1e8 <= 0.7 * free


def test_choose_batch_size__half_precision_fits_more() -> None:
    network = MobileNetV2(80, output_stride=8)
    parameters = 4 * 4 * sum(p.numel() for p in network.parameters())
    room_for_12 = (12 * bytes_kept_per_image(network, 128) + parameters) / 0.7

    def chosen(precision: str, free: float) -> int:
        hardware = Hardware("cpu", "CPU", precision, "", 1, 0)  # type: ignore[arg-type]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("src.run.batch_size.free_memory", lambda _: free)
            model = MobileNetV2Config(output_stride=8)
            return choose_batch_size(model, num_classes=80, image_size=128, hardware=hardware).batch_size

    assert (chosen("32-true", room_for_12), chosen("bf16-mixed", room_for_12)) == (8, 16)
    assert chosen("32-true", 1e13) == 32


def test_train__batch_size_0_is_chosen_and_kept(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path / "run", "data.batch_size=0", "trainer.max_epochs=1", "debug.max_steps=2")
    assert yaml.safe_load((folder.path / "config.yaml").read_text())["data"]["batch_size"] == 32
    assert "MB of activations an image" in capsys.readouterr().out
