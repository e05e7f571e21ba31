"""A finished run: the run folder's contract, and the numbers in it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from src.analysis.thresholds import fit_thresholds
from src.config.schema.errors import UserError
from src.config.schema.variants import from_plain
from src.runfolder import RunFolder
from tests.conftest import Compose
from tests.run.conftest import SHORT, Run, reference_scores

FILES = """
    config.yaml overrides.yaml env.json metrics.jsonl metrics.csv summary.json checkpoints/best.ckpt
    checkpoints/last.ckpt predictions/holdout.npz predictions/val.npz thresholds.json
    evaluation.json report/index.html
""".split()  # noqa: SIM905

NAMES = """
    map f1_micro f1_macro f1_samples precision_micro recall_micro precision_macro recall_macro hamming subset_accuracy
    accuracy f1_micro_tuned f1_macro_tuned cf1 of1 cp cr op or f1_head f1_mid f1_tail
""".split()  # noqa: SIM905
"""Of section 5 of the design."""


def weights(folder: RunFolder, file: str = "last") -> dict[str, torch.Tensor]:
    """The averaged and the trained weights."""
    checkpoint = torch.load(folder.path / f"checkpoints/{file}.ckpt", weights_only=True)
    trained = {f"trained.{name}": value for name, value in checkpoint.get("current_model_state", {}).items()}
    return checkpoint["state_dict"] | trained


def same(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return ones.keys() == others.keys() and all(torch.equal(value, others[name]) for name, value in ones.items())


def test_run_folder__every_file_of_the_contract_and_no_other(finished: RunFolder) -> None:
    found = {str(path.relative_to(finished.path)) for path in finished.path.rglob("*") if path.is_file()}
    assert found == set(FILES)


def test_run_folder__configuration_is_resolved_and_can_be_read_back(finished: RunFolder, smoke: Compose) -> None:
    content = yaml.safe_load((finished.path / "config.yaml").read_text())
    assert content["data"]["image_size"] == 64
    assert content["trainer"]["max_epochs"] == 2
    overrides = yaml.safe_load((finished.path / "overrides.yaml").read_text())
    assert overrides[0] == "model.prior_bias=false"
    assert content["trainer"]["num_threads"] == torch.get_num_threads()  # what a resumed run takes up
    assert from_plain(content, where="config.yaml") == smoke(
        *overrides, f"trainer.num_threads={torch.get_num_threads()}"
    )


def test_run_folder__environment(finished: RunFolder) -> None:
    found = finished.read_json("env.json")
    assert found["builtin_sample"] is True
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["device"] == "cpu"
    assert found["precision"] in ("bf16-mixed", "32-true")
    assert len(found["data_fingerprint"]) == 16
    assert {"git_commit", "python", "precision_reason", "num_workers"} <= found.keys()


def test_run_folder__summary_is_flat_and_finished(finished: RunFolder) -> None:
    summary = finished.read_json("summary.json")
    assert all(isinstance(value, str | int | float) for value in summary.values())
    assert summary["status"] == "finished"
    assert summary["thresholds_fitted_on"] == "holdout"
    assert summary["objective_name"] == "holdout/map"
    assert {f"{split}/{name}" for split in ("holdout", "val") for name in NAMES} <= summary.keys()
    assert min(summary[key] for key in ("images_per_second", "seconds", "train_seconds", "peak_memory_mb")) > 0
    assert summary["skipped_images"] == 0
    scores = [value for key, value in summary.items() if "/" in key and not key.endswith(("present", "coverage"))]
    assert all(0 <= value <= 1 for value in scores)


def test_run_folder__a_record_per_epoch_with_holdout_but_without_val(finished: RunFolder) -> None:
    records = finished.read_records()
    assert [record["epoch"] for record in records] == [0, 1]
    for record in records:
        assert {f"holdout/{name}" for name in NAMES} | {"train/loss", "train/f1_micro", "lr"} <= record.keys()
        assert not [key for key in record if key.startswith("val/")]
    summary = finished.read_json("summary.json")
    objectives = [record["holdout/map"] for record in records]
    errors = [record["holdout/map_se"] for record in records]
    assert all(0 < error < 0.2 for error in errors)
    within = [score >= max(objectives) - error for score, error in zip(objectives, errors, strict=True)]
    assert summary["best_epoch"] == int(np.flatnonzero(within)[-1])
    assert summary["objective"] == objectives[summary["best_epoch"]]


def test_checkpoints__hold_plain_data_and_what_they_are_for(finished: RunFolder) -> None:
    best, last = (torch.load(path, weights_only=True) for path in (finished.best, finished.last))
    assert best["thresholds"] == finished.read_json("thresholds.json")
    assert best["stamp"]["class_names"] == list(finished.read_predictions("val").class_names)
    assert best["stamp"]["image_size"] == 64
    assert best["stamp"]["model"]["variant"] == "model/mobilenetv2"
    assert best["state_dict"].keys() == best["current_model_state"].keys()
    assert not {"optimizer_states", "lr_schedulers", "loops", "callbacks"} & best.keys()
    assert last["optimizer_states"]
    assert last["loops"]


def test_predictions__formats(finished: RunFolder) -> None:
    ids = {}
    for split, smallest, largest in (("holdout", 44, 52), ("val", 48, 48)):
        with np.load(finished.path / f"predictions/{split}.npz", allow_pickle=False) as file:
            scores, targets, ids[split] = file["scores"], file["targets"], file["image_ids"]
            assert (scores.dtype, targets.dtype, ids[split].dtype) == (np.float32, np.uint8, np.int64)
            assert scores.shape == targets.shape == (len(ids[split]), 24)
            assert smallest <= len(scores) <= largest
            assert file["class_names"].shape == (24,)
            assert file["class_names"].dtype.kind == "U"
        assert 0 <= scores.min() < scores.max() <= 1
        assert set(np.unique(targets)) == {0, 1}
        assert len(set(ids[split].tolist())) == len(scores)


@pytest.mark.parametrize("split", ["holdout", "val"])
def test_summary__scores_are_those_of_scikit_learn(finished: RunFolder, split: str) -> None:
    summary, found = finished.read_json("summary.json"), finished.read_predictions(split)
    thresholds = finished.read_json("thresholds.json")
    expected = reference_scores(found)
    assert 0 < expected["f1_micro"] < 1  # decisions at 0.5 are not all alike
    expected["f1_micro_tuned"] = reference_scores(found, thresholds["global"])["f1_micro"]
    per_class = np.array([thresholds["per_class"][name] for name in found.class_names])
    expected["f1_macro_tuned"] = reference_scores(found, per_class)["f1_macro"]
    assert {name: summary[f"{split}/{name}"] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_thresholds__are_the_best_on_holdout_and_not_those_of_val(finished: RunFolder) -> None:
    thresholds = finished.read_json("thresholds.json")
    assert thresholds["fitted_on"] == "holdout"
    assert thresholds["num_images"] == len(finished.read_predictions("holdout").scores)
    fits = {}
    for split in ("holdout", "val"):
        found = finished.read_predictions(split)
        fits[split] = fit_thresholds(found.scores, found.targets, class_names=found.class_names).to_json()
    assert thresholds["per_class"] == fits["holdout"]["per_class"]
    assert thresholds["global"] == fits["holdout"]["global"]
    assert thresholds["per_class"] != fits["val"]["per_class"]
    holdout = finished.read_predictions("holdout")
    decided_KNC = holdout.scores >= np.unique(holdout.scores)[:, None, None]  # every cut there is
    hits_K = (decided_KNC & (holdout.targets > 0)).sum(axis=(1, 2))
    best = (2 * hits_K / (decided_KNC.sum(axis=(1, 2)) + holdout.targets.sum())).max()
    assert finished.read_json("summary.json")["holdout/f1_micro_tuned"] == pytest.approx(best, abs=1e-6)


def test_evaluation__holds_the_verdict_on_val_with_intervals_and_optimism(finished: RunFolder) -> None:
    content, summary = finished.read_json("evaluation.json"), finished.read_json("summary.json")
    assert content["split"] == "val"
    assert content["thresholds_fitted_on"] == "holdout"
    assert content["thresholds_fitted_on_this_split"] is False
    assert {name: summary[f"val/{name}"] for name in content["metrics"]} == content["metrics"]
    for name, found in content["intervals"].items():
        assert found["value"] == pytest.approx(content["metrics"][name])
        assert found["low"] <= found["value"] <= found["high"]
    assert content["optimism"]["f1_micro_optimism"] >= 0
    assert content["optimism"]["f1_micro_fit_here"] >= content["metrics"]["f1_micro_tuned"]
    assert len(content["per_class"]) == 24


def test_second_run__into_the_same_folder_is_refused_and_nothing_is_lost(finished: RunFolder, run: Run) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in finished.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"already holds a run; resume=.*smoke continues it"):
        run(finished.path, *SHORT)
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in finished.path.rglob("*") if path.is_file()}
    assert after == before


def test_determinism__same_seed_same_bits_with_any_number_of_workers(run: Run, tmp_path: Path) -> None:
    options = (*SHORT, "augment=strong")
    folders = [run(tmp_path / str(n), *options, f"data.num_workers={workers}") for n, workers in enumerate((0, 0, 2))]
    assert same(weights(folders[0]), weights(folders[1]))
    assert same(weights(folders[0]), weights(folders[2]))
    assert not same(weights(folders[0]), weights(run(tmp_path / "other", *options, "seed=1")))


def test_val_curve__val_is_scored_each_epoch_and_does_not_choose(run: Run, tmp_path: Path) -> None:
    folder = run(tmp_path / "run", *SHORT, "trainer.val_curve=true")
    (record,) = folder.read_records()
    assert {f"val/{name}" for name in NAMES} <= record.keys()
    summary = folder.read_json("summary.json")
    assert summary["objective"] == record["holdout/map"]
    assert record["val/map"] == pytest.approx(summary["val/map"], abs=0.02)  # the precision of training


def test_no_holdout__val_is_used_and_said_to_be_optimistic(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path / "run", *SHORT, "data.holdout=0")
    assert "val itself (data.holdout=0): its scores are optimistic" in capsys.readouterr().out
    summary = folder.read_json("summary.json")
    assert summary["thresholds_fitted_on"] == "val"
    assert summary["objective_name"] == "val/map"
    assert [path.name for path in (folder.path / "predictions").iterdir()] == ["val.npz"]


def test_auto__without_coco_the_sample_is_taken_and_written_down(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke: Compose
) -> None:
    from src.data.sample import synthetic

    draw = synthetic.ensure_sample

    def small(cache_dir: Path, *, train_images: int, val_images: int, seed: int) -> Path:
        assert (train_images, val_images) == (2400, 600)
        return draw(cache_dir, train_images=160, val_images=48, seed=seed)

    monkeypatch.setattr(synthetic, "ensure_sample", small)
    monkeypatch.chdir(tmp_path)
    keys = ("train_images=train2017", "val_images=val2017")  # the smoke experiment has set the sample's numbers
    folder = run(Path("run"), *SHORT, "data=auto", *(f"data.{key}" for key in keys), "data.image_size=0")
    content = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert content["variants"]["data"] == "data/sample"
    assert content["data"]["image_size"] == 96
    assert "root" not in content["data"]
    assert folder.read_json("env.json")["builtin_sample"] is True


def test_memory__jobs_of_a_sweep_leave_nothing_behind(run: Run, tmp_path: Path) -> None:
    """Jobs of a multirun share a process. A task holds 10 MB here; the bound is 4 of them over 3 jobs."""
    import gc

    from src.task import MultiLabelTask

    def resident_mb() -> float:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc: the resident set cannot be read")
    options = ("trainer.max_epochs=1", "debug.max_steps=1", "data.image_size=32")
    run(tmp_path / "first", *options)
    before = resident_mb()
    for n in range(3):
        run(tmp_path / str(n), *options)
    assert resident_mb() - before < 40
    assert not [found for found in gc.get_objects() if type(found) is MultiLabelTask]


def test_summary__is_written_as_plain_json(finished: RunFolder) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for name in ("summary.json", "env.json", "thresholds.json", "evaluation.json"):
        json.loads((finished.path / name).read_text(), parse_constant=refuse)
    for line in (finished.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
