"""What a run is worth on a split, in one form for summary.json, evaluation.json, the closing table and the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.analysis.calibration import Calibration, brier, classwise_ece, ece, fit_platt, fit_temperature
from src.analysis.imbalance import groups
from src.analysis.judgement import Judgement, constant_notes, judge, own_threshold_notes
from src.analysis.threshold_search import Objective
from src.analysis.thresholds import Thresholds, fit_thresholds, optimism
from src.config.schema.thresholds import ThresholdsConfig
from src.metrics.functional import score_report
from src.report.tables import TableRow
from src.runfolder import Predictions

HEADLINE = ("map", "f1_micro", "f1_macro")


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """Scores of one split at thresholds that were fitted on another, unless ``fitted_here``."""

    judgement: Judgement
    metrics: dict[str, float]
    """Those of the judgement, and the names of the training log that it does not have."""
    optimism: dict[str, float]
    """F1 at thresholds fitted on this split, and how much better that looks."""
    thresholds: Thresholds
    fitted_here: bool

    def to_json(self) -> dict[str, Any]:
        """What evaluation.json says of it."""
        judged = self.judgement.to_json()
        return {
            "num_images": judged["num_images"],
            "thresholds_fitted_on": self.thresholds.fitted_on,
            "thresholds_fitted_on_this_split": self.fitted_here,
            "metrics": self.metrics,
            **{name: judged[name] for name in ("intervals", "resamples", "level")},
            "optimism": self.optimism,
            "constant_baselines": judged["baselines"],
            "per_class": judged["per_class"],
            "reliability": judged["reliability"],
            "notes": constant_notes(self.judgement),
            "notes_on_own_thresholds": own_threshold_notes(self.judgement),
        }


def fit(found: Predictions, cfg: ThresholdsConfig, *, fitted_on: str, seed: int) -> Thresholds:
    """Thresholds for what the configuration wants, from these scores alone."""
    return fit_thresholds(
        found.scores,
        found.targets,
        class_names=found.class_names,
        objective=Objective(kind=cfg.objective, beta=cfg.beta, target=cfg.target),
        average=cfg.average,
        shrink=cfg.shrink,
        bags=cfg.bags,
        seed=seed,
        fitted_on=fitted_on,
    )


def verdict(
    found: Predictions,
    thresholds: Thresholds,
    *,
    fitted_here: bool,
    train_targets: NDArray[np.uint8] | None,
    resamples: int = 1000,
) -> Verdict:
    """Judge scores at given thresholds.

    Args:
        found: scores and targets.
        thresholds: in the order of the predictions' classes.
        fitted_here: whether they were fitted on these very images.
        train_targets: multi-hot, for the frequency groups; None leaves head, mid and tail out.
        resamples: of the bootstrap.
    """
    groups_C = None if train_targets is None else groups(train_targets.sum(axis=0, dtype=np.int64))
    judgement = judge(
        found.scores,
        found.targets,
        class_names=found.class_names,
        global_threshold=thresholds.global_,
        class_thresholds_C=thresholds.per_class,
        groups_C=groups_C,
        resamples=resamples,
    )
    logged = score_report(torch.from_numpy(found.scores), torch.from_numpy(found.targets), groups_C=groups_C)
    return Verdict(
        judgement=judgement,
        metrics=logged | judgement.metrics,
        optimism=optimism(found.scores, found.targets, thresholds),
        thresholds=thresholds,
        fitted_here=fitted_here,
    )


def table_rows(given: Verdict, *, split: str) -> dict[str, TableRow]:
    """Rows of the closing table: at 0.5, at fitted thresholds, what fitting here would claim, constant answers."""
    metrics, intervals, constant = given.metrics, given.judgement.intervals, given.judgement.baselines
    plain = {key: (metrics[key], (intervals[key].low, intervals[key].high)) for key in HEADLINE}
    tuned = {
        key: (metrics[f"{key}_tuned"], (intervals[f"{key}_tuned"].low, intervals[f"{key}_tuned"].high))
        for key in ("f1_micro", "f1_macro")
    }
    rows: dict[str, TableRow] = {f"{split} at 0.5": plain}
    fitted = f"{split} at thresholds of {given.thresholds.fitted_on}"
    rows[fitted + (" itself: optimistic" if given.fitted_here else "")] = {"map": plain["map"], **tuned}
    if not given.fitted_here:
        claimed = {key: (given.optimism[f"{key}_fit_here"], None) for key in ("f1_micro", "f1_macro")}
        rows[f"  had they been fitted on {split} (optimistic)"] = claimed
    rows[f"always the {constant.most_frequent.removesuffix(' classes')}"] = {
        "map": (constant.prior_map, None),
        "f1_micro": (constant.best_f1_micro, None),
        "f1_macro": (constant.best_f1_macro, None),
    }
    return rows


def calibrated(kind: str, fitting: Predictions, scored: Predictions) -> tuple[Calibration, dict[str, Any]]:
    """A calibration fitted on one split, and what it does to the calibration errors of another.

    Args:
        kind: ``temperature`` or ``platt``.
        fitting: scores to fit on, the holdout's.
        scored: scores to judge.
    """
    if kind == "temperature":
        calibration = fit_temperature(fitting.scores, fitting.targets)
    else:
        calibration = fit_platt(fitting.scores, fitting.targets, class_names=fitting.class_names)
    after = calibration.apply(scored.scores)
    errors = {"before": _errors(scored.scores, scored.targets), "after": _errors(after, scored.targets)}
    return calibration, {"kind": kind, "fitted_on_images": len(fitting.scores), **errors}


def _errors(scores_NC: NDArray[np.float32], targets_NC: NDArray[np.uint8]) -> Mapping[str, float]:
    return {
        "ece": ece(scores_NC, targets_NC),
        "ece_classwise": float(classwise_ece(scores_NC, targets_NC).mean()),
        "brier": brier(scores_NC, targets_NC),
    }
