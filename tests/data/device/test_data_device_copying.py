"""A batch's way to the device: on the CPU without any stream, on CUDA on one of its own, in an order that is right."""

from contextlib import contextmanager

import pytest
import torch

from src.config.schema.data import CocoConfig
from src.data.device.copying import DeviceSide


def side() -> DeviceSide:
    def unused() -> None:
        raise AssertionError("a whole batch needs neither files nor a store")

    return DeviceSide(CocoConfig(image_size=32), train=unused, store=unused)


def test_bring__on_the_cpu_nothing_is_copied_and_no_stream_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cuda, "Stream")
    batch = {"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "row": torch.arange(2)}
    found = side().bring(batch, torch.device("cpu"))
    assert found.keys() == batch.keys()
    assert all(found[key] is batch[key] for key in batch)


class FakeTensor:
    """A tensor on the host, or what a copy makes of it."""

    def __init__(self, log: list[str], *, is_cuda: bool = False) -> None:
        self.log, self.is_cuda = log, is_cuda

    def to(self, device: torch.device, *, non_blocking: bool) -> "FakeTensor":
        self.log.append(f"copied to {device.type}, {'without' if non_blocking else 'with'} waiting")
        return FakeTensor(self.log, is_cuda=True)

    def record_stream(self, stream: "FakeStream") -> None:
        self.log.append(f"kept for {stream.name}")


class FakeStream:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def wait_stream(self, other: "FakeStream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a CUDA that is not there was told."""
    said: list[str] = []

    @contextmanager
    def entered(stream: FakeStream):
        said.append(f"on {stream.name}")
        yield
        said.append("back")

    def made(_device: torch.device) -> FakeStream:
        said.append("made")
        return FakeStream(said, "side")

    monkeypatch.setattr(torch.cuda, "Stream", made)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device: FakeStream(said, "step"))
    return said


def test_bring__on_cuda_copies_beside_the_step_which_waits_for_it(log: list[str]) -> None:
    """An imitation of CUDA: it shows the order of our calls, not that CUDA overlaps them."""
    bringing = side()
    found = bringing.bring({"image": FakeTensor(log)}, torch.device("cuda"))
    once = ["on side", "copied to cuda, without waiting", "back", "step waits for side", "kept for step"]
    assert log == ["made", *once]
    assert found["image"].is_cuda
    bringing.bring({"image": FakeTensor(log)}, torch.device("cuda"))
    assert log[len(once) + 1 :] == once  # the stream is made once


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: copies on a stream of their own")
def test_bring__on_cuda_every_batch_arrives_whole() -> None:
    device, bringing = torch.device("cuda"), side()
    busy = torch.randn(4096, 4096, device=device)
    for seed in range(20):
        images = torch.full((64, 3, 128, 128), seed, dtype=torch.uint8).pin_memory()
        found = bringing.bring({"image": images}, device)
        for _ in range(3):
            busy = (busy @ busy).clamp(-1, 1)
        assert (found["image"] == seed).all()
