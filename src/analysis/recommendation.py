"""Which run of a comparison to keep, and the interval that says so."""

from dataclasses import dataclass
from typing import Any

from src.analysis.compare import Comparison


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A run, and why.

    Attributes:
        group: configuration to keep.
        run: folder of the run of it that scored best on its own holdout.
        because: the sentence with the interval.
    """

    group: str
    run: str
    because: str


def recommend(found: Comparison, *, metric: str = "map") -> Recommendation:
    """Keep the reference unless another configuration is clearly better.

    Of the configurations whose interval lies above 0 the one of highest mean wins. Among many it wins on these images
    in part by luck: report its score on images that took no part in the choice.

    Args:
        found: the comparison.
        metric: what counts, of ``src.analysis.compare.METRICS``.
    """
    rows = found.differences[found.differences["metric"] == metric]
    better = rows[rows["low"] > 0].sort_values("difference", ascending=False, kind="stable")
    if len(better):
        row = better.iloc[0]
        because = f"{metric} is higher than that of {found.reference} by {_interval(row, found.level)}"
        return Recommendation(str(row["group"]), _best_run(found, str(row["group"])), because)
    if len(rows):
        row = rows.sort_values("difference", ascending=False, kind="stable").iloc[0]
        because = f"no {metric} is clearly higher; closest is {row['group']} with {_interval(row, found.level)}"
    else:
        because = "there is nothing to choose between but seeds"
    return Recommendation(found.reference, _best_run(found, found.reference), because)


def _interval(row: Any, level: float) -> str:
    difference, low, high, covers = (row[name] for name in ("difference", "low", "high", "covers"))
    return f"{difference:+.4f} ({level:.0%} interval {low:+.4f} to {high:+.4f}, over {covers})"


def _best_run(found: Comparison, group: str) -> str:
    """By mAP on the holdout, which val's scores must not decide; the first run where none has a holdout."""
    curves = found.curves[(found.curves["group"] == group) & (found.curves["metric"] == "holdout/map")]
    if not len(curves):
        return str(found.runs.loc[found.runs["group"] == group, "run"].iloc[0])
    return str(curves.groupby("run", sort=False)["value"].max().idxmax())
