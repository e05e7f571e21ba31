"""The jobs of a sweep as one ranked table, and how much of the objective each swept key explains."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

FEWEST_JOBS = 4
"""With fewer finished jobs no share is told: two values of one key and nothing to compare them with."""
RESULTS = ("val/map", "val/f1_micro", "val/f1_micro_tuned", "best_epoch", "epochs", "seconds", "error")
_RANKS = {"finished": 0, "pruned": 1, "interrupted": 2, "failed": 3}


def parse_override(text: str) -> tuple[str, str]:
    """Key and value as typed.

    >>> parse_override("+experiment=focal")
    ('experiment', 'focal')
    """
    key, _, value = text.lstrip("+").partition("=")
    return key, value


def swept_keys(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Keys whose value is not the same in every job, or that some jobs lack, in the order of the command lines."""
    jobs = [dict(map(parse_override, job)) for job in overrides]
    keys = dict.fromkeys(key for job in jobs for key in job)
    return [key for key in keys if len({job.get(key) for job in jobs}) > 1]


def job_order(row: Mapping[str, Any]) -> tuple[int, float, str]:
    """Sort key: finished jobs by falling objective, then pruned, interrupted and failed ones."""
    objective = row.get("objective", -np.inf)
    return _RANKS.get(row["status"], len(_RANKS)), -objective if np.isfinite(objective) else np.inf, str(row["job"])


def sweep_table(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> pd.DataFrame:
    """One row per job, in the order of :func:`job_order`.

    Args:
        rows: per job its name (``job``), command line (``overrides``) and summary (``status``, ``objective``, …).
        keys: swept keys.

    Returns:
        Columns ``rank`` (missing where not finished), ``job``, ``status``, ``objective``, the keys, and of
        ``RESULTS`` those that some job has. A key's column holds numbers where every value is one; a job without the
        key has a missing value.
    """
    rows = sorted(rows, key=job_order)
    results = [name for name in RESULTS if any(row.get(name) not in (None, "") for row in rows)]
    table = pd.DataFrame(
        {
            "job": [str(row["job"]) for row in rows],
            "status": [str(row["status"]) for row in rows],
            "objective": np.array([row.get("objective", np.nan) for row in rows], dtype=np.float64),
            **{key: _column([dict(map(parse_override, row["overrides"])).get(key) for row in rows]) for key in keys},
            **{name: [row.get(name) for row in rows] for name in results},
        }
    )
    finished = table["status"] == "finished"
    table.insert(0, "rank", (finished.cumsum()).where(finished).astype("Int64"))
    return table


def _column(values: Sequence[str | None]) -> pd.Series:
    """Numbers where all that are there are numbers; text otherwise."""
    try:
        return pd.Series([np.nan if value is None else float(value) for value in values], dtype=np.float64)
    except ValueError:
        return pd.Series(list(values), dtype=object)


def main_effects(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Share of the objective's variance that each key explains by itself (main effects of an analysis of variance).

        share_k = sum_v n_v (mean_v - mean)^2 / sum_i (y_i - mean)^2

    over the values v of key k, with n_v finished jobs and mean objective mean_v each: eta squared (Fisher, 1925). In a
    full grid the shares add up to at most 1, the rest being interaction and noise; elsewhere keys that vary together
    share what they explain. A key without any effect gets (V - 1) / (n - 1) on average by chance, V values among n
    jobs: ``chance``, to be read beside the share. A number that hardly repeats (more than n / 2 values) is cut into
    2 to 5 groups of equal size first. A key that only some jobs have is judged among those.

    Args:
        table: as :func:`sweep_table` makes it; only finished jobs with a finite objective count.
        keys: columns to judge.

    Returns:
        Columns ``key``, ``share``, ``chance``, ``jobs``, largest share first; keys with fewer than four jobs, with one
        value, or with as many values as jobs are left out, as is everything where the objective is constant.
    """
    finished = table[(table["status"] == "finished") & np.isfinite(table["objective"])]
    rows = []
    for key in keys:
        known = finished[finished[key].notna()]
        levels_N, y_N = _levels(known[key]), known["objective"].to_numpy()
        values = len(set(levels_N.tolist()))
        total = ((y_N - y_N.mean()) ** 2).sum() if len(y_N) else 0.0
        if len(y_N) < FEWEST_JOBS or not 1 < values < len(y_N) or total <= 0:
            continue
        means_N = pd.Series(y_N).groupby(levels_N).transform("mean").to_numpy()
        share = ((means_N - y_N.mean()) ** 2).sum() / total
        rows.append({"key": key, "share": share, "chance": (values - 1) / (len(y_N) - 1), "jobs": len(y_N)})
    found = pd.DataFrame(rows, columns=["key", "share", "chance", "jobs"])
    return found.sort_values("share", ascending=False, kind="stable").reset_index(drop=True)


def _levels(values: pd.Series) -> np.ndarray:
    """Number of the group that each value belongs to, int [N]."""
    codes_N, distinct = pd.factorize(values)
    count = len(values)
    if not pd.api.types.is_numeric_dtype(values) or len(distinct) <= count / 2:
        return codes_N
    groups = max(2, min(5, count // 4))
    return (values.rank(method="average").to_numpy() - 1) * groups // count
