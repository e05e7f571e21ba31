"""A run read back, and what to type to improve on it."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
import yaml

from src.analysis.threshold_choices import fixed_thresholds
from src.config.check import problems
from src.config.store import register
from src.run.reading import commands_to_try, read_run
from src.runfolder import RunFolder, RunFolderError


def test_read_run__is_what_the_run_left(finished: RunFolder) -> None:
    run = read_run(str(finished.path))
    held = finished.read_predictions("holdout")
    assert len(run.train_targets) + len(held.scores) == 160
    np.testing.assert_array_equal(run.fitting.scores, held.scores)
    summary = finished.read_json("summary.json")
    judgement = run.judge(resamples=10)
    assert judgement.metrics["f1_macro_tuned"] == pytest.approx(summary["val/f1_macro_tuned"], abs=1e-9)
    assert judgement.metrics["f1_tail"] == pytest.approx(summary["val/f1_tail"], abs=1e-9)
    half = run.judge(fixed_thresholds(0.5, run.class_names), resamples=10)
    assert half.metrics["f1_macro_tuned"] == pytest.approx(summary["val/f1_macro"], abs=1e-9)


def test_read_run__one_that_did_not_get_far(finished_copy: RunFolder) -> None:
    (finished_copy.path / "thresholds.json").unlink()
    with pytest.raises(RunFolderError, match="did not get that far"):
        read_run("latest", output_dir=str(finished_copy.path.parent))


def test_commands_to_try__are_valid_and_change_what_is_asked(finished_copy: RunFolder) -> None:
    register()
    earlier = ["+experiment=smoke", "loss=bce", "seed=7", "output_dir=x", "data.classes=[red ball,cyan gear]"]
    (finished_copy.path / "overrides.yaml").write_text(yaml.safe_dump(earlier))
    run = read_run(str(finished_copy.path))
    *trains, compare = commands_to_try(replace(run, folder=finished_copy), "loss=asl data.sampler=repeat_factor")
    words = [shlex.split(line)[3:] for line in trains]
    kept = ["+experiment=smoke", "data.classes=[red ball,cyan gear]"]
    assert words == [
        ["+experiment=smoke", "loss=bce", kept[1], "seed=0,1", "-m"],
        [*kept, "loss=asl", "data.sampler=repeat_factor", "seed=0,1", "-m"],
    ]
    assert [problems("config", line[:-1], multirun=True) for line in words] == [[], []]
    assert problems("compare", shlex.split(compare)[3:]) == []
    assert len(commands_to_try(run, "")) == 2
