"""trainer.compile: the same training and the same checkpoints, and a refusal of what cannot work before work begins.

With backends that do not generate code: what is ours to get wrong (keys, modes of the network, odd batches, outputs
that are overwritten) is the same for all of them.
"""

import copy
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from src.callbacks.ema import EMA
from src.callbacks.numerics import WatchNumerics
from src.config.schema.errors import ConfigError
from src.config.schema.model import MobileNetV2Config
from src.config.schema.optim import AdamWConfig, ConstantConfig
from src.config.schema.training import COMPILES, TrainerConfig
from src.config.schema.variants import to_plain
from src.losses.modules import BCELoss
from src.models.classifier import Classifier
from src.models.freeze import freeze_stages
from src.models.preprocess import Normalize
from src.run import compilation
from src.run.compilation import check_compile, compiled_forward
from src.run.hardware import Hardware
from src.task import MultiLabelTask, TaskInfo
from tests.conftest import Compose
from tests.run.conftest import SHORT, Run

CLASSES, BATCH, SIDE = 5, 6, 8


def classifier(*, frozen: int = 0) -> Classifier:
    """Two stages with batch norms, a head; no dropout, which compilers draw in their own order."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES),
    )  # fmt: skip
    model = Classifier(Normalize(), network, head_name="4", stage_names=(("0",), ("1",)))
    freeze_stages(model, frozen)
    return model.to(memory_format=torch.channels_last)


def batches(sizes: tuple[int, ...] = (BATCH,) * 4) -> list[dict[str, Tensor]]:
    rng = np.random.default_rng(0)
    return [
        {
            "image": torch.from_numpy(rng.integers(0, 256, (size, 3, SIDE, SIDE), np.uint8)),
            "target": torch.from_numpy(rng.integers(0, 2, (size, CLASSES), np.uint8)),
            "image_id": torch.arange(size),
            "row": torch.arange(size),
            "skipped": torch.zeros(0, dtype=torch.int64),
        }
        for size in sizes
    ]  # fmt: skip


def _loader(sizes: tuple[int, ...]) -> DataLoader:
    return DataLoader(batches(sizes), batch_size=None)


Wrap = Callable[[Classifier], Callable[[Tensor], Tensor]]


def trained(folder: Path, model: Classifier, wrap: Wrap | None, *, unfreeze_epoch: int = -1) -> dict:
    """The checkpoint after two epochs with an average of the weights, and the epoch's scores under ``metrics``."""
    info = TaskInfo(tuple("abcde"), np.zeros(CLASSES, np.int64), "holdout", 0, {})
    task = MultiLabelTask(
        model, BCELoss(), info, model_cfg=MobileNetV2Config(unfreeze_epoch=unfreeze_epoch),
        optimizer_cfg=AdamWConfig(lr=0.01), scheduler_cfg=ConstantConfig(), tuned=lambda *_: {}, objective="map",
    )  # fmt: skip
    if wrap:
        task.train_through(wrap(model))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=2, callbacks=[WatchNumerics(), EMA(0.5)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(task, _loader((BATCH,) * 4), [_loader((BATCH, 4))])
    assert trainer.global_step == 8
    trainer.save_checkpoint(folder / "last.ckpt")
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    metrics = {key: value.item() for key, value in trainer.callback_metrics.items()}
    return {key: checkpoint[key] for key in ("state_dict", "current_model_state")} | {"metrics": metrics}


def compiled(wish: str) -> Wrap:
    return lambda model: compiled_forward(model, wish, batch_size=BATCH, backend="aot_eager")


def assert_close(one: dict, other: dict) -> None:
    for key in ("state_dict", "current_model_state"):
        assert list(one[key]) == list(other[key])
        for name, value in one[key].items():
            torch.testing.assert_close(value, other[key][name], rtol=1e-4, atol=1e-5, msg=name)
    assert one["metrics"] == pytest.approx(other["metrics"], rel=1e-3, abs=1e-4)


@pytest.fixture
def fresh_dynamo() -> None:
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_dynamo")
@pytest.mark.parametrize("wish", ["default", "reduce-overhead"])
def test_compile__same_weights_same_keys_same_scores(tmp_path: Path, wish: str) -> None:
    plain = trained(tmp_path, classifier(), None)
    assert_close(trained(tmp_path, classifier(), compiled(wish)), plain)


@pytest.mark.usefixtures("fresh_dynamo")
def test_compile__frozen_norms_keep_their_statistics_and_thaw_when_told(tmp_path: Path) -> None:
    plain = trained(tmp_path, classifier(frozen=1), None, unfreeze_epoch=1)
    found = trained(tmp_path, classifier(frozen=1), compiled("default"), unfreeze_epoch=1)
    assert_close(found, plain)
    still = trained(tmp_path, classifier(frozen=1), compiled("default"))["current_model_state"]
    untouched = classifier(frozen=1).state_dict()
    frozen = [name for name in untouched if name.startswith("network.0.")]
    assert all(torch.equal(still[f"model.{name}"], untouched[name]) for name in frozen)
    moved = found["current_model_state"]
    assert not torch.equal(moved["model.network.0.0.weight"], untouched["network.0.0.weight"])


@pytest.mark.usefixtures("fresh_dynamo")
def test_compile__one_graph_for_one_shape_and_nothing_for_others() -> None:
    graphs, calls = [], []

    def counting(graph: torch.fx.GraphModule, example_inputs: list[Tensor]) -> Callable[..., object]:
        del example_inputs
        graphs.append(graph)

        def call(*inputs: Tensor) -> object:
            calls.append(None)
            return graph.forward(*inputs)

        return call

    model = classifier().train()
    forward = compiled_forward(model, "default", batch_size=BATCH, backend=counting)
    full, odd = (batch["image"] for batch in batches((BATCH, 4)))
    for _ in range(3):
        forward(full)
        forward(odd)
    model.eval()
    forward(full)
    assert len(graphs) == 1  # in one piece, once
    assert len(calls) == 3


class Replayed:
    """As a CUDA graph: every call writes into the same memory; what the last call gave is gone when it begins."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.last: Tensor | None = None

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        if self.last is not None:
            self.last.fill_(float("nan"))
        logits_BC: Tensor = self.model(images_BCHW)
        self.last = logits_BC.detach()
        return logits_BC


def test_compile__no_step_keeps_what_the_next_replay_overwrites(tmp_path: Path) -> None:
    replayed = []

    def wrap(model: Classifier) -> Callable[[Tensor], Tensor]:
        replayed.append(Replayed(model))
        return replayed[0].__call__

    assert_close(trained(tmp_path, classifier(), wrap), trained(tmp_path, classifier(), None))
    assert replayed[0].last is not None


def test_compile__marks_every_step_of_cuda_graphs_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(None))
    full, odd = (batch["image"] for batch in batches((BATCH, 4)))
    for wish, expected in (("reduce-overhead", 2), ("default", 0)):
        marks.clear()
        forward = compiled_forward(classifier().train(), wish, batch_size=BATCH, backend=lambda graph, _: graph.forward)
        for images in (full, odd, full):
            forward(images)
        assert len(marks) == expected


def test_compile__leaves_state_and_copies_alone() -> None:
    model = classifier()
    keys = list(model.state_dict())
    info = TaskInfo(tuple("abcde"), np.zeros(CLASSES, np.int64), "holdout", 0, {})
    task = MultiLabelTask(
        model, BCELoss(), info, model_cfg=MobileNetV2Config(), optimizer_cfg=AdamWConfig(),
        scheduler_cfg=ConstantConfig(), tuned=lambda *_: {}, objective="map",
    )  # fmt: skip
    task.train_through(compiled_forward(model, "default", batch_size=BATCH, backend="eager"))
    assert [key.removeprefix("model.") for key in task.state_dict()] == keys
    assert [key.removeprefix("model.") for key in copy.deepcopy(task).state_dict()] == keys


@pytest.mark.slow  # tracing MobileNetV2 takes 10 s
@pytest.mark.usefixtures("fresh_dynamo")
def test_train__compiled_run_ends_with_the_weights_of_the_plain_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    options = (*SHORT, "model.dropout=0", "trainer.precision=fp32")
    plain = run(tmp_path / "plain", *options)
    with caplog.at_level(logging.WARNING):
        found = run(tmp_path / "compiled", *options, "trainer.compile=default")
    assert "trainer.compile=default: on a CPU it was slower" in caplog.text
    ones, others = (torch.load(folder.last, weights_only=True)["state_dict"] for folder in (plain, found))
    assert list(ones) == list(others)
    assert all(torch.equal(value, others[name]) for name, value in ones.items())
    assert "compile: default" in (found.path / "config.yaml").read_text()


def hardware(device: str) -> Hardware:
    return Hardware(device, "some", "16-mixed" if device == "cuda" else "32-true", "", 1, 0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    ("device", "options", "message"),
    [
        ("cpu", ("trainer.compile=reduce-overhead",), r"records CUDA graphs.*trainer\.compile=off"),
        ("cuda", ("trainer.compile=reduce-overhead", "trainer.accumulate=2"), r"accumulate=2 .*compile=default"),
        ("cuda", ("trainer.compile=reduce-overhead", "trainer.devices=2"), r"devices=1 only; trainer\.compile=default"),
        ("cuda", ("trainer.compile=default", "model.recompute=true"), r"not with model\.recompute=true"),
    ],
)
def test_check_compile__refuses_in_a_line(smoke: Compose, device, options, message) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer\.compile=[a-z-]+: .*{message}") as error:
        check_compile(smoke(*options), hardware(device))
    assert "\n" not in str(error.value)


def test_check_compile__refuses_what_the_machine_lacks(smoke: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    config = smoke("trainer.compile=max-autotune-no-cudagraphs")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    with pytest.raises(ConfigError, match=r"compute capability 7\.0"):
        check_compile(config, hardware("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    check_compile(config, hardware("cuda"))
    monkeypatch.setattr(compilation.shutil, "which", lambda _: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ConfigError, match="no C compiler"):
        check_compile(config, hardware("cuda"))
    check_compile(smoke(), hardware("cuda"))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("wish", COMPILES)
def test_check_compile__allows_on_cuda(smoke: Compose, wish: str) -> None:
    check_compile(smoke(f"trainer.compile={wish}"), hardware("cuda"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [("false", "off"), ("true", "default"), ("off", "off"), ("reduce-overhead", "reduce-overhead")],
)
def test_trainer_config__compile_was_a_switch_once(smoke: Compose, written: str, meant: str) -> None:
    found = smoke(f"trainer.compile={written}")
    assert found.trainer.compile == meant
    assert to_plain(found)["trainer"]["compile"] == meant
    assert TrainerConfig(compile=False).compile == "off"  # type: ignore[arg-type]  # an old config.yaml


def test_trainer_config__compile_names_the_nearest_choice() -> None:
    with pytest.raises(
        ConfigError, match=r"trainer\.compile=reduce_overhead: .*did you mean trainer\.compile=reduce-ove"
    ):
        TrainerConfig(compile="reduce_overhead")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: code generation and CUDA graphs")
@pytest.mark.parametrize("wish", COMPILES[1:])
def test_compile__on_cuda_the_weights_of_the_plain_network(wish: str) -> None:
    ends = []
    for wrap in (False, True):
        model = classifier().cuda().train()
        forward = compiled_forward(model, wish, batch_size=BATCH) if wrap else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for batch in batches((BATCH,) * 6):
            loss = nn.functional.binary_cross_entropy_with_logits(
                forward(batch["image"].cuda()), batch["target"].cuda().float()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends.append({name: value.cpu() for name, value in model.state_dict().items()})
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=1e-2, atol=1e-3)
