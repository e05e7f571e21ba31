"""The literal commands, each in a process of its own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from src.data.sample.synthetic import ensure_sample
from tests.conftest import ROOT
from tests.data.conftest import write_shards

FAST = ("+experiment=smoke", "debug=fast", "data.image_size=32", "trainer.max_epochs=1")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def assert_one_error(done: subprocess.CompletedProcess[str], pattern: str) -> None:
    """One problem, no stack trace, nothing of Hydra's own."""
    assert done.returncode == 2, done.stderr
    assert re.match(r"error: " + pattern, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "Error executing job" not in done.stderr
    assert done.stderr.count("error:") == 1


@pytest.mark.parametrize("words", [("src.evaluate", "run=latest"), ("src.train", "resume=latest")], ids=" ".join)
def test_commands__by_a_python_without_the_packages_name_the_one_that_has_them(words: tuple[str, ...]) -> None:
    words = (sys.executable, "-S", "-m", *words)  # -S: without site-packages
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert_one_error(done, r".*python\S* lacks what this project needs; \S+/\.venv/bin/python has it once  make setup")


@pytest.mark.slow
def test_train_evaluate_describe__work_hand_in_hand(cache_dir: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    trained = command("src.train", *FAST, f"cache_dir={cache_dir}", f"output_dir={outputs}")
    assert trained.returncode == 0, trained.stderr
    (config,) = outputs.glob("smoke/????-??-??_??-??-??/config.yaml")
    assert re.search(r"epoch 1/1  loss 0\.\d+  train micro-F1 .* holdout mAP", trained.stdout)
    assert f"written to {config.parent}" in trained.stdout
    assert "choice     map on holdout of train; val is read once, at the end" in trained.stdout
    assert re.search(r"global threshold 0\.\d+: micro-F1 0\.\d+, .* each class's own: micro-F1", trained.stdout)
    assert trained.stderr == ""

    next_command = re.search(r"next:  python -m (.*)", trained.stdout)
    assert next_command
    evaluated = command(*next_command.group(1).split(), "data.num_workers=0")
    assert evaluated.returncode == 0, evaluated.stderr
    evaluation = json.loads((config.parent / "evaluation.json").read_text())
    assert f"{evaluation['metrics']['map']:.4f}" in evaluated.stdout
    assert str(config.parent / "evaluation.json") in evaluated.stdout

    (sample,) = cache_dir.glob("sample-*-160-48-*")
    described = command(
        "src.describe", "data=coco2017", f"data.root={sample}", "images=20", f"output={tmp_path / 'd.json'}",
        f"cache_dir={cache_dir}",
    )  # fmt: skip
    assert described.returncode == 0, described.stderr
    assert json.loads((tmp_path / "d.json").read_text())["summary"]["images"] == 160
    assert "image health: 20 of 160 images read, 0 broken; images=-1 reads all" in described.stdout


@pytest.mark.slow
def test_prepare__writes_a_cache_that_training_finds(tmp_path: Path) -> None:
    own = ("data.cache=raw", "data.image_size=32", f"cache_dir={tmp_path / 'cache'}")  # no other test's
    prepared = command("src.prepare", "data=sample_small", *own)
    assert prepared.returncode == 0, prepared.stderr
    assert "raw at 32 px: 160 of 160 images written" in prepared.stdout
    assert "1 of 1 shards written" in prepared.stdout
    trained = command("src.train", *FAST, *own, f"output_dir={tmp_path / 'outputs'}")
    assert trained.returncode == 0, trained.stderr
    assert "images written" not in trained.stdout
    assert "cache      raw at 32 px (asked for)" in trained.stdout


@pytest.mark.slow
def test_sweep__a_folder_per_job_a_table_and_sweep_json(cache_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    done = command("src.train", *FAST, "loss=focal,bce", "-m", f"cache_dir={cache_dir}", f"hydra.sweep.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"0_smoke", "1_smoke"}
    jobs = json.loads((folder / "sweep.json").read_text())
    assert {("loss=focal" in job["overrides"], "loss=bce" in job["overrides"]) for job in jobs} == {(1, 0), (0, 1)}
    assert [job["status"] for job in jobs] == ["finished", "finished"]
    assert jobs[0]["objective"] >= jobs[1]["objective"]
    table = done.stdout[done.stdout.index(f"sweep {folder}") :]
    assert [job["job"] in table and f"{job['objective']:.4f}" in table for job in jobs] == [True, True]
    assert re.search(r"job\s+┃\s+loss\s+┃\s+status", table)


@pytest.mark.slow
def test_sweep__with_ddp_is_refused_with_a_way_out(cache_dir: Path, tmp_path: Path) -> None:
    done = command(
        "src.train", *FAST, "trainer.devices=2", "seed=0,1", "-m", f"cache_dir={cache_dir}",
        f"hydra.sweep.dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 2
    assert "trainer.devices=2 with -m: the processes of one job would start the sweep again" in done.stderr
    assert "run the jobs one by one" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_user_error__is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = command("src.train", "data=coco2017", f"data.root={tmp_path / 'nowhere'}", f"output_dir={tmp_path / 'out'}")
    assert_one_error(done, r"data\.root: no folder .*nowhere; data\.root=PATH if you have COCO elsewhere")
    assert not list(tmp_path.rglob("config.yaml"))


@pytest.mark.parametrize("key", ["output_dir", "cache_dir"])
def test_folder_that_cannot_be_made__is_named_before_torch_is_loaded(tmp_path: Path, key: str) -> None:
    file = tmp_path / "file"
    file.touch()
    done = command("src.train", "data=sample", f"output_dir={tmp_path / 'runs'}", f"{key}={file}/below")
    assert_one_error(done, rf"{key}[:=]\s?{file}.*Not a directory")
    assert not (tmp_path / "runs/run").exists()


@pytest.mark.slow
def test_train_evaluate_predict__with_train_in_tar_shards_only(cache_dir: Path, tmp_path: Path) -> None:
    sample = ensure_sample(cache_dir, train_images=160, val_images=48, seed=7)
    root = Path(shutil.copytree(sample, tmp_path / "coco"))
    write_shards(sorted((root / "train2017").iterdir()), tmp_path / "tars", 4)
    shutil.rmtree(root / "train2017")
    where = ("data=coco2017", f"data.root={root}", f"cache_dir={tmp_path / 'cache'}", "data.holdout=0.25")
    shards = (f'data.shards="{tmp_path}/tars/train-{{00..03}}.tar"', "data.shard_window=2")
    trained = command("src.train", *FAST, *where, *shards, f"hydra.run.dir={tmp_path / 'run'}")
    assert trained.returncode == 0, trained.stderr
    assert "cache      none: 4 tar shards, 0.00 GB, mixed 2 at a time" in trained.stdout
    evaluated = command("src.evaluate", f"run={tmp_path / 'run'}", "split=holdout", "data.num_workers=0")
    assert evaluated.returncode == 0, evaluated.stderr
    predicted = command(
        "src.predict", f"run={tmp_path / 'run'}", f"input={root / 'val2017'}", f"output={tmp_path / 'p.csv'}"
    )
    assert predicted.returncode == 0, predicted.stderr
    without = command("src.train", *FAST, *where, f"hydra.run.dir={tmp_path / 'other'}")
    assert_one_error(without, r"data\.root: no train2017 under")
