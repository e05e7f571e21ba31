"""The row ``gpu`` without a GPU: its plan, its limits, and each kind of case on the CPU."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.feeding import SOURCES, feed, loader_of
from benchmarks.findings import Finding
from benchmarks.measuring import SkippedError
from benchmarks.photos import ensure_layout
from benchmarks.registry import ROWS
from benchmarks.rows import gpu
from benchmarks.settings import Settings
from benchmarks.training_step import StepCase, our_step, resident_batch, timed, timm_step, torchvision_step
from tests.benchmarks.test_benchmarks_rows import run

CPU = torch.device("cpu")
TINY = StepCase(size=32, precision="fp32", batch=2)


def _small_cases() -> int:
    """Steps in each precision, two peers, the caches, the sources, a compiled step."""
    return 1 + torch.cuda.is_available() + 2 + 1 + len(SOURCES) + 1


def small(folder: Path) -> Settings:
    return Settings(folder=folder, repeats=2, small=True)


def test_gpu__is_skipped_without_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SkippedError, match="no CUDA device"):
        gpu.measure_gpu(Settings(folder=tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA: nothing is skipped")
def test_command__says_that_a_row_was_skipped_and_why(tmp_path: Path) -> None:
    done = run("gpu", "--folder", tmp_path, "--output", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    assert "gpu: skipped, no CUDA device is visible to torch" in done.stdout
    assert '"skipped": {\n    "gpu": "no CUDA' in (tmp_path / "out.json").read_text()


def test_gpu__the_whole_plan_in_the_order_of_its_worth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "_batch", lambda *_: 64)
    monkeypatch.setattr(gpu, "ensure_layout", lambda *_, **__: tmp_path)
    titles = [title for title, _ in gpu._cases(Settings(folder=tmp_path, repeats=3), torch.device("cuda"))]
    assert titles[0] == "OS32, 224 px, batch 64, fp16, compile off"
    eager = titles[:16]
    for words in ("OS4,", "OS8,", "OS16,", "OS32,", "256 px", "224 px", "fp16", "bf16"):
        assert any(words in title for title in eager)
    assert [title for title in titles if title.startswith("fed from")] == [f"fed from {source}" for source in SOURCES]
    compiled = titles[len(eager) + 4 + len(SOURCES) :]
    assert {title.rpartition(" ")[2] for title in compiled} == {
        "off", "default", "reduce-overhead", "max-autotune-no-cudagraphs",
    }  # fmt: skip
    assert sum("batch 16," in title for title in compiled) == 3
    assert len(set(titles)) == len(titles)


def test_gpu__says_what_it_had_no_time_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu, "BUDGET", -1.0)
    (found,) = gpu.measure_gpu(small(tmp_path))
    assert found.what.startswith("left out after -1 s: OS32, 32 px, batch 4")
    assert "fed from raw cache" in found.what
    assert found.ours == (_small_cases(),)
    assert Finding.from_json(found.to_json()) == found


def test_gpu__a_case_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails() -> list[Finding]:
        raise torch.OutOfMemoryError("too large\nmore of it")

    cases = [("one", fails), ("two", lambda: [gpu._shown("fine", "s", (1.0,))])]
    monkeypatch.setattr(gpu, "_cases", lambda *_: iter(cases))
    found = gpu.measure_gpu(small(tmp_path))
    assert [one.what for one in found] == ["failed: one: too large", "fine"]


@pytest.mark.parametrize("build", [our_step, timm_step, torchvision_step])
def test_steps__train(build) -> None:
    if build is timm_step:
        pytest.importorskip("timm")
    step, batch = build(TINY, CPU), resident_batch(TINY, CPU)
    assert batch["image"].is_contiguous(memory_format=torch.channels_last)
    assert 0 < timed(step, batch, CPU, 1) < math.inf


def test_gpu__a_step_alone_and_against_a_peer(tmp_path: Path) -> None:
    (alone,) = gpu._alone(TINY, small(tmp_path), CPU)
    assert alone.unit == "images/s"
    assert len(alone.ours) == 2
    assert not alone.ratios
    (against,) = gpu._against(TINY, "torchvision", torchvision_step, small(tmp_path), CPU)
    assert len(against.ratios) == 2


@pytest.mark.parametrize("source", ["files", "files, decoded on the device"])
def test_feed__counts_what_went_through(tmp_path: Path, source: str) -> None:
    root = ensure_layout(small(tmp_path), train=6, val=2)
    data = loader_of(source, root, tmp_path / "cache", TINY, CPU, workers=0)
    seen = []
    found = feed(data, seen.append, CPU, batch=2, seconds=0.0)
    assert [len(batch["image"]) for batch in seen] == [2] * 6  # an epoch to warm up, one that counts
    assert all(batch["image"].shape[1:] == (3, 32, 32) for batch in seen)
    assert found.images_per_second > 0
    assert 0 < found.waiting <= 1


@pytest.mark.slow
def test_gpu__small_runs_every_kind_of_case(tmp_path: Path) -> None:
    found = ROWS["gpu"].load()(small(tmp_path))
    assert not [one.what for one in found if one.what.startswith(("failed", "left out", "skipped"))]
    assert len(found) == _small_cases()
