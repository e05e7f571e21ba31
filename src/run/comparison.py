"""Finished runs beside one another: read, checked, grouped, scored on the same resamples, written down."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from src.analysis.bootstrap import resample
from src.analysis.comparable import check_comparable
from src.analysis.compare import (
    Comparison,
    ScoredRun,
    class_changes,
    curve_table,
    difference_table,
    group_table,
    run_table,
    scored_run,
)
from src.analysis.imbalance import groups
from src.analysis.run_groups import Grouping, Options, find_group, flatten_options, group_runs
from src.analysis.thresholds import Thresholds
from src.config.schema.compare import CompareConfig
from src.config.schema.variants import from_plain, to_plain
from src.report.compare import print_comparison
from src.report.compare_page import comparison_page
from src.run.run_sets import find_runs
from src.runfolder import Predictions, Record, RunFolder, replacing


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """What is read of one run."""

    name: str
    options: Options
    predictions: Predictions
    thresholds: Thresholds
    records: Sequence[Record]


def compare(wish: CompareConfig) -> Comparison:
    """Compare, print, and write comparison.csv, differences.csv, classes.csv, comparison.json and index.html.

    Raises:
        UserError: fewer than two runs; runs of other images, classes or targets; predictions that are missing.
    """
    found = gather(wish)
    folder = Path(wish.output) if wish.output else _new_folder(Path(wish.output_dir))
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"comparison": found.groups, "differences": found.differences, "classes": found.classes}
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv", "w") as file:
            table.to_csv(file, index=False)
    with replacing(folder / "comparison.json", "w") as file:
        json.dump(_plain(found), file, indent=2, allow_nan=False)
    with replacing(folder / "index.html", "w") as file:
        file.write(comparison_page(found))
    print_comparison(found, written=[folder / "index.html", *(folder / f"{name}.csv" for name in tables)])
    return found


def gather(wish: CompareConfig) -> Comparison:
    """The comparison itself; writes and prints nothing.

    Raises:
        UserError: see :func:`compare`.
    """
    paths, unfinished = find_runs(wish.run_names(), output_dir=wish.output_dir)
    candidates = [_read(path, wish.split) for path in paths]
    predictions = {run.name: run.predictions for run in candidates}
    check_comparable(predictions, split=wish.split)
    grouping = group_runs([run.options for run in candidates], by=wish.group_keys())
    names = [run.name for run in candidates]
    reference = find_group(wish.reference, grouping.labels, names) if wish.reference else grouping.labels[0]
    expected = candidates[0].predictions
    positives_C = expected.targets.sum(axis=0, dtype="int64")
    scored = _score(candidates, grouping, wish, positives_C)
    runs = run_table(scored)
    records = {run.name: run.records for run in candidates}
    return Comparison(
        split=wish.split,
        num_images=len(expected.scores),
        reference=reference,
        level=wish.level,
        runs=runs,
        groups=group_table(runs),
        differences=difference_table(scored, reference=reference, level=wish.level, seed=wish.seed),
        classes=class_changes(
            scored,
            reference=reference,
            class_names=expected.class_names,
            positives_C=positives_C,
            level=wish.level,
            seed=wish.seed,
        ),
        curves=curve_table(records, dict(zip(names, grouping.labels, strict=True))),
        options=_options(candidates, grouping),
        notes=tuple(_notes(candidates, grouping, unfinished, wish.split)),
    )


def _read(path: Path, split: str) -> Candidate:
    run = RunFolder(path)
    predictions = run.read_predictions(split)
    thresholds = Thresholds.from_json(run.read_json("thresholds.json"), class_names=predictions.class_names)
    # Through the dataclasses, so that a key that an older run did not know has its default in both.
    config = from_plain(yaml.safe_load((path / "config.yaml").read_text()), where=str(path / "config.yaml"))
    options = flatten_options(to_plain(config))
    return Candidate(str(path), options, predictions, thresholds, run.read_records())


def _score(
    candidates: Sequence[Candidate], grouping: Grouping, wish: CompareConfig, positives_C: Any
) -> list[ScoredRun]:
    frequency_groups_C = groups(positives_C)
    scored = []
    for run, label in zip(candidates, grouping.labels, strict=True):
        thresholds = (run.thresholds.global_, run.thresholds.per_class)
        resampled = resample(
            run.predictions.scores, run.predictions.targets, thresholds, resamples=wish.resamples, seed=wish.seed,
            level=wish.level,
        )  # fmt: skip
        seed = int(run.options["seed"])
        scored.append(scored_run(run.name, label, seed, resampled, frequency_groups_C=frequency_groups_C))
    return scored


def _options(candidates: Sequence[Candidate], grouping: Grouping) -> pd.DataFrame:
    """Keys that differ between groups or within one: a row each, the group's value, or its values."""
    columns: dict[str, list[str]] = {"key": [*grouping.keys, *grouping.mixed]}
    for label in dict.fromkeys(grouping.labels):
        members = [run.options for run, own in zip(candidates, grouping.labels, strict=True) if own == label]
        values = [dict.fromkeys(str(options.get(key, "")) for options in members) for key in columns["key"]]
        columns[label] = [" | ".join(found) for found in values]
    return pd.DataFrame(columns)


def _notes(candidates: Sequence[Candidate], grouping: Grouping, unfinished: Sequence[Path], split: str) -> list[str]:
    labels = list(dict.fromkeys(grouping.labels))
    seeds = Counter((label, run.options["seed"]) for run, label in zip(candidates, grouping.labels, strict=True))
    twice = sorted({label for (label, _), count in seeds.items() if count > 1})
    notes = []
    if len(labels) == 1:
        notes.append("One group: the runs differ in nothing but the seed. by=seed compares them with one another.")
    if len(labels) > 1 and len(labels) == len(candidates):
        notes.append(
            "One run per group: the intervals cover the choice of images alone. Another seed may move a score by more; "
            "train each with two seeds or more (seed=0,1 -m) before you believe a small difference."
        )
    if grouping.mixed:
        notes.append(
            f"Within groups these differ besides the seed, and are part of the sd: {', '.join(grouping.mixed)}."
        )
    if twice and not grouping.mixed:
        notes.append(f"The same seed occurs twice in {'; '.join(twice)}: that sd is not one over seeds.")
    if fitted := [run.name for run in candidates if run.thresholds.fitted_on == split]:
        notes.append(f"Thresholds were fitted on {split} itself by {', '.join(fitted)}: its tuned F1 is optimistic.")
    if unfinished:
        notes.append(f"{len(unfinished)} unfinished runs left out: {', '.join(map(str, unfinished))}.")
    return notes


def _new_folder(output_dir: Path) -> Path:
    return output_dir / "comparisons" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _plain(found: Comparison) -> Mapping[str, Any]:
    def records(table: pd.DataFrame) -> list[dict[str, Any]]:
        return [
            {str(key): None if isinstance(x, float) and math.isnan(x) else x for key, x in row.items()}
            for row in table.to_dict(orient="records")
        ]

    tables = ("runs", "groups", "differences", "classes", "options")
    return {
        "split": found.split,
        "num_images": found.num_images,
        "reference": found.reference,
        "level": found.level,
        "notes": list(found.notes),
        **{name: records(getattr(found, name)) for name in tables},
    }
