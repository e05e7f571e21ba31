"""Every engine answers as the network does, from a graph that says what it is."""

import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.config.schema.engine import SUPPORTED
from src.engines import build, graph
from src.engines.build import BuiltEngine, EngineWish, build_engine, choose_engine
from src.engines.errors import EngineError, needed
from src.engines.graph import load_pt2, read_metadata, run_module, to_pt2
from src.engines.parity import compare
from tests.engines.conftest import CLASSES, SIZE

METADATA = {"class_names": ["café", "b", "c", "d", "e"], "threshold_global": 0.25}
PACKAGES = {"onnxruntime": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}

Built = Callable[..., BuiltEngine]


def require(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Graphs are made once for all tests."""
    return tmp_path_factory.mktemp("graphs")


def wish(folder: Path, engine: str, precision: str = "fp32", **changes: Any) -> EngineWish:
    values: dict[str, Any] = {"device": "cpu", "threads": 1, "image_size": SIZE, "weights": "w", "metadata": METADATA}
    return EngineWish(engine=engine, precision=precision, folder=folder, **(values | changes))


@pytest.fixture(scope="session")
def built(small: nn.Module, images: Tensor, folder: Path) -> Built:
    def make(engine: str, precision: str = "fp32") -> BuiltEngine:
        require(*PACKAGES.get(engine, ()), *(["nncf", "onnxruntime"] if precision == "int8" else []))
        return build_engine(small, wish(folder, engine, precision), lambda: images.split(8))

    return make


@pytest.fixture(scope="session")
def reference(small: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return small(images)


@pytest.mark.parametrize("engine", ["torch", "folded", "onnxruntime", "openvino"])
def test_engine__fp32_is_the_network(built: Built, images: Tensor, reference: Tensor, engine: str) -> None:
    found = built(engine)
    assert (found.name, found.precision) == (engine, "fp32")
    assert found.differs == (engine != "torch")
    for batch in (1, 3, 20):  # any batch
        parity = compare(found(images[:batch]), reference[:batch])
        assert parity.logit_max <= 1e-5 * parity.logit_scale
    torch.testing.assert_close(found(images.contiguous(memory_format=torch.channels_last)), found(images))


@pytest.mark.parametrize("engine", ["torch", "folded", "openvino"])
def test_engine__bf16_is_near(built: Built, images: Tensor, reference: Tensor, engine: str) -> None:
    found = built(engine, "bf16")
    answers = found(images)
    assert answers.dtype == torch.float32
    parity = compare(answers, reference)
    assert parity.logit_max <= 0.05 * parity.logit_scale
    computed_in_fp32 = found.precision.startswith("fp32 (this CPU has no bfloat16)")
    assert computed_in_fp32 == (parity.logit_max <= 1e-5 * parity.logit_scale)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engine__int8_is_near_and_is_int8(built: Built, images: Tensor, reference: Tensor, engine: str) -> None:
    found = built(engine, "int8")
    parity = compare(found(images), reference)
    assert parity.logit_max > 1e-4 * parity.logit_scale
    assert parity.logit_mean < 0.05 * parity.logit_scale
    assert found.graph
    onnx, helper = importlib.import_module("onnx"), importlib.import_module("onnx.numpy_helper")
    proto = onnx.load(found.graph)
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.count("QuantizeLinear") >= 4
    last = max(place for place, kind in enumerate(kinds) if kind == "Conv")
    assert "QuantizeLinear" not in kinds[last:]  # pooling and the last linear layer stay in float32
    weights = [helper.to_array(entry) for entry in proto.graph.initializer if entry.name.count("weight")]
    assert {array.dtype for array in weights if array.ndim == 4} == {np.dtype("int8")}
    assert read_metadata(found.graph)["precision"] == "int8"


def test_graph__says_what_it_is(built: Built) -> None:
    path = built("onnxruntime").graph
    assert path
    assert read_metadata(path) == {**METADATA, "precision": "fp32"}
    session = importlib.import_module("onnxruntime").InferenceSession(str(path))
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [3, SIZE, SIZE])
    assert (answer.name, answer.type, answer.shape[1:]) == ("logits", "tensor(float)", [CLASSES])
    assert isinstance(given.shape[0], str)
    assert given.shape[0] == answer.shape[0]


def test_pt2__is_the_network_with_metadata(small: nn.Module, images: Tensor, reference: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "a.pt2"
    path.write_bytes(to_pt2(small, METADATA, image_size=SIZE))
    assert read_metadata(path) == METADATA
    module = load_pt2(path)
    for batch in (1, 20):
        torch.testing.assert_close(run_module(module, images[:batch]), reference[:batch])


def test_metadata__of_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"a\.bin: expected an \.onnx or a \.pt2 file"):
        read_metadata(tmp_path / "a.bin")


def test_graph__is_kept_and_found_by_all_that_decides_it(
    built: Built, small: nn.Module, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built("onnxruntime").graph

    def again(*_: Any, **__: Any) -> Iterator[Tensor]:
        raise AssertionError("exported again")

    monkeypatch.setattr(build, "onnx_model", again)
    assert build_engine(small, wish(folder, "onnxruntime", threads=2), again).graph == made
    changes = ({"weights": "other"}, {"image_size": 64}, {"metadata": {}})
    for change in changes:
        with pytest.raises(AssertionError, match="exported again"):
            build_engine(small, wish(folder, "onnxruntime", **change), again)
    names = {build._digest(wish(folder, "openvino", "int8", calibration_images=n), "int8") for n in (50, 60)}
    assert len(names) == 2
    assert not list(tmp_path.iterdir())


def test_graph__a_failed_export_leaves_no_file(
    small: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("onnx", "onnxscript", "onnxruntime")
    monkeypatch.setattr(build, "onnx_model", lambda *_, **__: None)

    def fails(*_: Any) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr(build, "to_onnx", fails)
    with pytest.raises(OSError, match="disk full"):
        build_engine(small, wish(tmp_path, "onnxruntime"), list)
    assert list(tmp_path.iterdir()) == []


def test_engine__what_cannot_be_is_refused(small: nn.Module, tmp_path: Path) -> None:
    for engine, precisions in SUPPORTED.items():
        for precision in {"fp32", "bf16", "int8"} - set(precisions):
            with pytest.raises(EngineError, match=f"engine={engine} precision={precision}: not possible"):
                build_engine(small, wish(tmp_path, engine, precision), list)


@pytest.mark.parametrize(
    ("package", "extra"), [("openvino", "openvino"), ("onnxruntime", "onnx"), ("onnx", "onnx"), ("nncf", "int8")]
)
def test_needed__names_the_command(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(EngineError, match=re.escape(f"x: needs {package}; pip install '.[{extra}]'")):
        needed(package, by="x", extra=extra)


def test_needed__a_package_that_is_broken_inside_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise ModuleNotFoundError("No module named 'inner'", name="inner")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="inner"):
        needed("openvino", by="x", extra="openvino")


@pytest.mark.parametrize(
    ("installed", "device", "precision", "expected"),
    [
        ({"openvino", "onnxruntime"}, "cpu", "fp32", "openvino"),
        ({"onnxruntime"}, "cpu", "int8", "onnxruntime"),
        ({"onnxruntime"}, "cpu", "bf16", "folded"),
        (set(), "cpu", "fp32", "folded"),
        ({"openvino"}, "cuda", "fp32", "folded"),
    ],
)
def test_choose_engine__takes_what_is_there(
    installed: set[str], device: str, precision: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "find_spec", lambda name: name if name in installed else None)
    name, why = choose_engine(device=device, precision=precision)
    assert name == expected
    assert why


def test_choose_engine__int8_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_spec", lambda _: None)
    with pytest.raises(EngineError, match=r"needs one of openvino, onnxruntime; pip install"):
        choose_engine(device="cpu", precision="int8")


def test_names__of_input_and_output_are_fixed() -> None:
    assert (graph.INPUT, graph.OUTPUT) == ("images", "logits")
