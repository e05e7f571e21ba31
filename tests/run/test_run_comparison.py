"""From run folders to the tables, the page and the errors of a comparison; nothing is trained."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from src.analysis.comparable import CompareError
from src.analysis.thresholds import fit_thresholds
from src.config.schema.compare import CompareConfig
from src.config.schema.errors import UserError
from src.config.schema.variants import to_plain
from src.run.comparison import compare, gather
from src.run.run_sets import find_runs
from src.runfolder import Predictions, RunFolder, RunFolderError
from tests.conftest import Compose

NAMES = ("cat", "dog", "$bird")
MakeRun = Callable[..., RunFolder]


@pytest.fixture
def make_run(smoke: Compose, tmp_path: Path) -> MakeRun:
    """Write a finished run folder of a model that answers at random, better with more ``skill``."""

    def made(place: str, *overrides: str, skill: float = 1.0, images: int = 60, status: str = "finished") -> RunFolder:
        config = smoke(*overrides)
        run = RunFolder(tmp_path / place)
        run.path.mkdir(parents=True)
        (run.path / "config.yaml").write_text(yaml.safe_dump(to_plain(config)))
        targets_NC = (np.random.default_rng(0).random((images, 3)) < (0.6, 0.3, 0.2)).astype(np.uint8)
        noise_NC = np.random.default_rng(config.seed + len(place)).normal(0, 1, targets_NC.shape)
        scores_NC = 1 / (1 + np.exp(-skill * (2 * targets_NC.astype(int) - 1) - noise_NC))
        run.write_predictions("val", Predictions(scores_NC.astype(np.float32), targets_NC, np.arange(images), NAMES))
        thresholds = fit_thresholds(scores_NC, targets_NC, class_names=NAMES, fitted_on="holdout")
        run.write_json("thresholds.json", thresholds.to_json())
        run.write_json("summary.json", {"status": status})
        run.write_records([{"epoch": e, "holdout/map": 0.1 * e, "holdout/f1_tail": 0.2} for e in range(3)])
        return run

    return made


def wish(*runs: object, **changes: Any) -> CompareConfig:
    return CompareConfig(runs=[str(run) for run in runs], resamples=100, **changes)


def test_compare__writes_tables_json_and_page(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        make_run(f"sweep/{seed}_smoke", f"seed={seed}")
        make_run(f"sweep/{seed + 2}_smoke", f"seed={seed}", "loss=asl", skill=2.0)
    found = compare(wish(tmp_path / "sweep", output=str(tmp_path / "out")))
    groups = pd.read_csv(tmp_path / "out/comparison.csv")
    assert list(groups["group"]) == ["loss=bce", "loss=asl"]
    assert list(groups["n"]) == [2, 2]
    runs = found.runs.groupby("group", sort=False)["map"]
    assert list(groups["map"]) == pytest.approx(list(runs.mean()))
    assert list(groups["map_sd"]) == pytest.approx(list(runs.std()))
    differences = pd.read_csv(tmp_path / "out/differences.csv").set_index("metric")
    assert differences.loc["map", "difference"] == pytest.approx(groups["map"][1] - groups["map"][0])
    assert len(pd.read_csv(tmp_path / "out/classes.csv")) == 6
    content = json.loads((tmp_path / "out/comparison.json").read_text(), parse_constant=pytest.fail)
    assert content["reference"] == "loss=bce"
    assert len(content["runs"]) == 4
    assert {row["key"] for row in content["options"]} >= {"variants.loss", "loss.gamma_neg"}
    page = (tmp_path / "out/index.html").read_text()
    printed = capsys.readouterr().out
    assert f"{groups['map'][1]:.4f} ± {groups['map_sd'][1]:.4f}" in printed
    assert f"{groups['map'][1]:.4f}" in page
    assert str(tmp_path / "out/index.html") in printed.replace("\n", "")


def test_compare__output_has_a_place_by_default(make_run: MakeRun, tmp_path: Path) -> None:
    compare(wish(make_run("a").path, make_run("b", "seed=1").path, output_dir=str(tmp_path)))
    (folder,) = (tmp_path / "comparisons").iterdir()
    assert {path.suffix for path in folder.iterdir()} == {".csv", ".json", ".html"}


def test_gather__reference_and_by(make_run: MakeRun) -> None:
    a, b = make_run("a").path, make_run("b", "seed=1", "loss=asl").path
    assert gather(wish(a, b)).reference == "loss=bce"
    assert gather(wish(a, b, reference=str(b))).reference == "loss=asl"
    assert gather(wish(a, b, reference="asl")).reference == "loss=asl"
    assert list(gather(wish(a, b, by="seed")).groups["group"]) == ["seed=0", "seed=1"]
    found = gather(wish(a, b, make_run("cc", "optimizer.lr=0.1").path, by=["loss"]))
    assert list(found.groups["n"]) == [2, 1]
    assert "Within groups these differ besides the seed, and are part of the sd: optimizer.lr." in found.notes


def test_gather__notes_say_how_far_to_trust(make_run: MakeRun, tmp_path: Path) -> None:
    a, b = make_run("s/a").path, make_run("s/b", "loss=asl").path
    assert any("the intervals cover the choice of images alone" in note for note in gather(wish(a, b)).notes)
    same = make_run("s/cc", "loss=asl").path
    assert any("The same seed occurs twice in loss=asl" in note for note in gather(wish(a, b, same)).notes)
    alike = gather(wish(a, make_run("s/dd", "seed=5").path))
    assert any("differ in nothing but the seed. by=seed compares" in note for note in alike.notes)
    assert len(alike.differences) == 0
    make_run("s/e", status="interrupted")
    assert any("1 unfinished runs left out" in note for note in gather(wish(tmp_path / "s")).notes)
    fitted = RunFolder(a).read_json("thresholds.json") | {"fitted_on": "val"}
    RunFolder(a).write_json("thresholds.json", fitted)
    assert any("Thresholds were fitted on val itself" in note for note in gather(wish(a, b)).notes)


def test_gather__a_run_named_twice_is_one(make_run: MakeRun) -> None:
    run = make_run("a").path
    with pytest.raises(CompareError, match="runs: 1 found, a comparison needs two or more"):
        gather(wish(run, f"{run}/"))


def test_gather__missing_predictions_name_the_command(make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b", "seed=1")
    with pytest.raises(RunFolderError, match=rf"python -m src.evaluate run={a.path} split=train writes it"):
        gather(wish(a.path, b.path, split="train"))


def test_gather__other_images_are_refused(make_run: MakeRun) -> None:
    with pytest.raises(CompareError, match=r"scores 50 images of val, .* 60, and they share 50"):
        gather(wish(make_run("a").path, make_run("b", images=50).path))


def test_find_runs__folders_patterns_and_order(make_run: MakeRun, tmp_path: Path) -> None:
    for number in (0, 2, 10):
        make_run(f"sweep/{number}_smoke")
    unfinished = make_run("sweep/3_smoke", status="failed").path
    found, left_out = find_runs([str(tmp_path / "sweep")], output_dir="outputs")
    assert [path.name for path in found] == ["0_smoke", "2_smoke", "10_smoke"]
    assert left_out == [unfinished]
    by_pattern, _ = find_runs([str(tmp_path / "sweep/[02]_*")], output_dir="outputs")
    assert [path.name for path in by_pattern] == ["0_smoke", "2_smoke"]
    explicit, left_out = find_runs([str(unfinished), str(tmp_path / "sweep")], output_dir="outputs")
    assert explicit[0] == unfinished
    assert left_out == []
    with pytest.raises(RunFolderError, match=r"runs=.*nowhere: no run folder"):
        find_runs([str(tmp_path / "nowhere")], output_dir="outputs")


@pytest.mark.parametrize("runs", [5, [1, 2], {"a": "b"}])
def test_config__runs_are_names(runs: object) -> None:
    with pytest.raises(UserError, match=r"runs=.*must be one name or a list of names"):
        CompareConfig(runs=runs)


def test_find_runs__latest_sweep(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("sweeps/a/0_smoke")
    make_run("sweeps/b/0_smoke")
    make_run("sweeps/b/1_smoke")
    os.utime(tmp_path / "sweeps/a", (1, 1))
    found, _ = find_runs(["latest_sweep"], output_dir=str(tmp_path))
    assert [path.parent.name for path in found] == ["b", "b"]
    with pytest.raises(RunFolderError, match="latest_sweep: none under"):
        find_runs(["latest_sweep"], output_dir=str(tmp_path / "sweeps"))
