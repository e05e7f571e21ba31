"""Thresholds written back to a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from src.analysis.thresholds import ThresholdError, Thresholds
from src.callbacks.checkpoint_io import load_checkpoint
from src.run.decide import write_thresholds
from src.runfolder import RunFolder, RunFolderError


def changed(run: RunFolder) -> Thresholds:
    found = Thresholds.from_json(run.read_json("thresholds.json"))
    per_class = np.linspace(0.1, 0.9, len(found.per_class)).astype(np.float32).astype(np.float64)
    return replace(found, global_=0.25, per_class=per_class, fitted_on="my notebook")


def test_write_thresholds__file_and_checkpoint_agree_and_the_old_file_stays(finished_copy: RunFolder) -> None:
    before, weights = finished_copy.read_json("thresholds.json"), load_checkpoint(finished_copy.best)["state_dict"]
    wanted = changed(finished_copy)
    assert write_thresholds(finished_copy.path, wanted) == finished_copy.path / "thresholds.json"
    assert finished_copy.read_json("thresholds.json") == wanted.to_json()
    assert finished_copy.read_json("thresholds.previous.json") == before
    after = torch.load(finished_copy.best, weights_only=True)
    assert after["thresholds"] == wanted.to_json()
    assert all(torch.equal(after["state_dict"][name], value) for name, value in weights.items())


def test_write_thresholds__the_same_again_keeps_the_previous_ones(finished_copy: RunFolder) -> None:
    before, wanted = finished_copy.read_json("thresholds.json"), changed(finished_copy)
    for _ in range(2):
        write_thresholds(finished_copy, wanted)
    assert finished_copy.read_json("thresholds.previous.json") == before


def test_write_thresholds__classes_in_any_order(finished_copy: RunFolder) -> None:
    wanted = changed(finished_copy)
    names, per_class = wanted.class_names[::-1], wanted.per_class[::-1].copy()
    write_thresholds(finished_copy, replace(wanted, class_names=names, per_class=per_class))
    assert finished_copy.read_json("thresholds.json") == wanted.to_json()
    assert list(finished_copy.read_json("thresholds.json")["per_class"]) == list(wanted.class_names)


def test_write_thresholds__of_other_classes_are_refused_and_nothing_changes(finished_copy: RunFolder) -> None:
    before = finished_copy.read_json("thresholds.json")
    wanted = changed(finished_copy)
    strange = replace(wanted, class_names=(*wanted.class_names[:-1], "unicorn"))
    with pytest.raises(ThresholdError, match="unicorn"):
        write_thresholds(finished_copy, strange)
    with pytest.raises(ThresholdError, match=r"outside \[0, 1\]"):
        write_thresholds(finished_copy, replace(wanted, global_=-3.0))
    assert finished_copy.read_json("thresholds.json") == before
    assert load_checkpoint(finished_copy.best)["thresholds"] == before
    assert not (finished_copy.path / "thresholds.previous.json").exists()
    with pytest.raises(RunFolderError, match="not a run folder"):
        write_thresholds(finished_copy.path.parent, wanted)
