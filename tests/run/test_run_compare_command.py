"""``python -m src.compare`` on two real runs, and its mistakes, as a user types it."""

from pathlib import Path

import pandas as pd
import pytest

from tests.run.conftest import SHORT, Run
from tests.test_entry_points import assert_one_error, command


@pytest.mark.slow
def test_compare__two_runs_end_to_end(run: Run, tmp_path: Path) -> None:
    a = run(tmp_path / "bce", *SHORT)
    b = run(tmp_path / "asl", *SHORT, "loss=asl")
    done = command("src.compare", f"runs=[{a.path},{b.path}]", f"output={tmp_path / 'out'}", "resamples=200")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    groups = pd.read_csv(tmp_path / "out/comparison.csv")
    summaries = [found.read_json("summary.json") for found in (a, b)]
    for metric in ("map", "f1_micro", "f1_macro", "f1_micro_tuned", "f1_macro_tuned", "cf1", "of1"):
        assert list(groups[metric]) == pytest.approx([summary[f"val/{metric}"] for summary in summaries], abs=1e-9)
    for text in ("loss=bce", "loss=asl", "difference from loss=bce", f"{groups['map'][0]:.4f}", "One run per group"):
        assert text in done.stdout
    assert (tmp_path / "out/index.html").is_file()

    missing = command("src.compare", f"runs=[{a.path},{b.path}]", "split=train")
    assert_one_error(missing, rf"{a.path}/predictions/train\.npz: missing; python -m src\.evaluate .* writes it")
    assert_one_error(command("src.compare", f"runs={a.path}"), r"runs: 1 found, a comparison needs two or more")
