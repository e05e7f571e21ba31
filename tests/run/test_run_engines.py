"""Evaluation by another engine, and the files a run hands over."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from src.config.schema.engine import EngineConfig, ExportConfig
from src.config.schema.errors import ConfigError
from src.engines.errors import EngineError
from src.engines.graph import load_pt2, read_metadata
from src.run import exporting
from src.run.assembly import build_data
from src.run.engines import Source, calibration, engine_device
from src.run.evaluation import evaluate, run_config
from src.run.exporting import export
from src.run.hardware import choose
from src.runfolder import RunFolder
from tests.run.test_run_evaluation import wish


def require(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


def metadata_of(run: RunFolder) -> dict[str, Any]:
    thresholds = run.read_json("thresholds.json")
    names = list(run.read_predictions("val").class_names)
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    return {
        "class_names": names,
        "threshold_global": thresholds["global"],
        "thresholds_per_class": [thresholds["per_class"][name] for name in names],
        "thresholds_fitted_on": "holdout",
        "image_size": config["data"]["image_size"],
        "resize": config["data"]["resize"],
    }


def test_evaluate__folded_stands_beside_the_runs_own(
    finished_copy: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished_copy.path / "evaluation.json").read_bytes()
    content = evaluate(wish(finished_copy, engine="folded"))
    assert (finished_copy.path / "evaluation.json").read_bytes() == before
    beside = RunFolder(finished_copy.path / "evaluations/val_folded-fp32")
    assert beside.read_json("evaluation.json") == content
    own, found = finished_copy.read_predictions("val"), beside.read_predictions("val")
    np.testing.assert_allclose(found.scores, own.scores, atol=1e-5)
    parity = content["engine"]["parity"]
    assert (content["engine"]["name"], content["engine"]["precision"]) == ("folded", "fp32")
    assert (parity["images"], parity["decisions"]) == (48, own.scores.size)
    assert 0 < parity["logit_max"] <= 1e-5 * parity["logit_scale"]
    assert set(parity["flipped"]) == {"global", "per_class"}
    said = " ".join(capsys.readouterr().out.split())
    assert "engine folded, fp32 (asked for); beside torch in fp32, 48 images: logits differ by" in said


def test_evaluate__torch_needs_no_parity(finished: RunFolder, tmp_path: Path) -> None:
    content = evaluate(wish(finished, output=str(tmp_path)))
    assert content["engine"]["parity"] is None
    assert content["engine"]["name"] == "torch"


@pytest.mark.slow
def test_evaluate_and_export__by_onnx(finished_copy: RunFolder, tmp_path: Path) -> None:
    require("onnx", "onnxscript", "onnxruntime")
    content = evaluate(wish(finished_copy, engine="onnxruntime"))
    found = RunFolder(finished_copy.path / "evaluations/val_onnxruntime-fp32").read_predictions("val")
    np.testing.assert_allclose(found.scores, finished_copy.read_predictions("val").scores, atol=1e-5)
    assert content["engine"]["parity"]["logit_max"] <= 1e-5 * content["engine"]["parity"]["logit_scale"]
    (cached,) = (finished_copy.path / "exports/cache").iterdir()
    stamp = cached.stat().st_mtime_ns
    target, parity = export(ExportConfig(run=str(finished_copy.path)))
    assert (target, cached.stat().st_mtime_ns) == (finished_copy.path / "exports/best.onnx", stamp)
    assert target.read_bytes() == cached.read_bytes()
    assert parity.logit_max <= exporting.TOLERANCE * parity.logit_scale
    assert metadata_of(finished_copy).items() <= read_metadata(target).items()
    size = metadata_of(finished_copy)["image_size"]
    images = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), np.uint8)
    session = importlib.import_module("onnxruntime").InferenceSession(str(target))
    (logits,) = session.run(None, {"images": images})
    assert logits.shape == (3, len(found.class_names))


@pytest.mark.slow
def test_evaluate_and_export__int8_is_calibrated_on_train(
    finished_copy: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
    content = evaluate(wish(finished_copy, engine="openvino", precision="int8", calibration_images=32))
    parity = content["engine"]["parity"]
    assert 0 < parity["probability_mean"] < 0.05
    (cached,) = (finished_copy.path / "exports/cache").iterdir()
    assert cached.name.startswith("int8_")
    monkeypatch.setattr(exporting, "INT8_TOLERANCE", 0.05)  # two epochs at p = 0.5 are the least favourable network
    target, _ = export(ExportConfig(run=str(finished_copy.path), precision="int8", calibration_images=32))
    assert target == finished_copy.path / "exports/best_int8.onnx"
    assert target.read_bytes() == cached.read_bytes()


def test_export__pt2(finished_copy: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = tmp_path / "new/a.pt2"
    target, parity = export(ExportConfig(run=str(finished_copy.path), format="pt2", output=str(wanted)))
    assert target == wanted
    assert [path.name for path in wanted.parent.iterdir()] == ["a.pt2"]
    assert parity.logit_max <= exporting.TOLERANCE * parity.logit_scale
    assert metadata_of(finished_copy).items() <= read_metadata(target).items()
    size = metadata_of(finished_copy)["image_size"]
    logits = load_pt2(target)(torch.zeros(2, 3, size, size, dtype=torch.uint8))
    assert logits.shape == (2, len(metadata_of(finished_copy)["class_names"]))
    said = capsys.readouterr().out
    assert str(wanted) in said
    assert f"[batch, 3, {size}, {size}]" in said


def test_export__a_graph_that_answers_otherwise_is_not_kept(
    finished_copy: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "run_module", lambda module, images: module(images) * 1.001)
    with pytest.raises(EngineError, match=r"the pt2 graph answers otherwise: largest difference .* allowed 0\.0001"):
        export(ExportConfig(run=str(finished_copy.path), format="pt2"))
    assert list((finished_copy.path / "exports").iterdir()) == []


def test_calibration__shows_training_images_chosen_by_the_seed(finished: RunFolder) -> None:
    config = run_config(finished)
    hardware = choose(device="cpu", precision="fp32", num_threads=0, num_workers=0)
    source = Source(run=finished, config=config, checkpoint=finished.best, stamp={})
    first, again = (torch.cat(list(calibration(source, hardware, images=40))) for _ in range(2))
    assert first.shape == (40, 3, config.data.image_size, config.data.image_size)
    assert torch.equal(first, again)
    train = {image.numpy().tobytes() for batch in build_data(config, hardware).eval_loader("train")
             for image in batch["image"].contiguous()}  # fmt: skip
    assert {image.numpy().tobytes() for image in first.contiguous()} <= train
    assert len(train) > 40


def test_engine_device__cpu_engines_take_the_cpu() -> None:
    assert engine_device(EngineConfig(engine="openvino"), "auto") == "cpu"
    assert engine_device(EngineConfig(engine="folded"), "cuda") == "cuda"
    assert engine_device(EngineConfig(engine="torch"), "auto") == "auto"
    with pytest.raises(ConfigError, match=r"engine=openvino: computes on the CPU; device=cpu, or engine=folded"):
        engine_device(EngineConfig(engine="openvino"), "cuda")
