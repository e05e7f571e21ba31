"""Decision thresholds: how they are fitted and kept, and how much better they look where they were fitted.

The search itself is in ``threshold_search``, the treatment of rare classes in ``shrinkage``. N images, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isinf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.analysis.bagging import bagged_threshold
from src.analysis.decisions import by_threshold, count_decisions, f1_macro, f1_micro
from src.analysis.shrinkage import choose_strength, fit
from src.analysis.threshold_search import AVERAGES, F1, Objective
from src.config.schema.errors import UserError
from src.config.schema.rules import require, require_choice

MODES = ("global", "per_class")
# For curves per epoch, where a cross-validation each time is too dear. With classes of like thresholds 10 comes within
# 0.002 of the best macro-F1 on fresh images; where they differ much the choice by cross-validation is far better, see
# docs/thresholds.md.
DEFAULT_SHRINK = 10.0


class ThresholdError(UserError):
    """Thresholds cannot be fitted to these scores, or do not belong to these classes."""


@dataclass(frozen=True, slots=True, eq=False)
class Thresholds:
    """Fitted thresholds, as ``thresholds.json`` holds them.

    Attributes:
        global_: one threshold for all classes, in [0, 1].
        per_class: one for each class, float64 [C] in [0, 1].
        class_names: names in the order of ``per_class``.
        fitted_on: split whose images they were fitted on.
        objective: what each kind maximises, in words.
        num_images: images they were fitted on.
        search: the same objective for the program.
        average: what the global threshold is best for: ``micro`` or ``macro``.
        shrink: strength with which rare classes are drawn to the global one; None where a file does not say.
        cross_validated: whether that strength was chosen by cross-validation.
        bags: resamples whose optima the global threshold is the centre of; 0 where it is the optimum itself.
        unreached: classes of which no cut met the objective's target; their own optimum is the highest precision.
        global_reached: False where no cut of the global threshold met it.
    """

    global_: float
    per_class: NDArray[np.float64]
    class_names: tuple[str, ...]
    fitted_on: str
    objective: str
    num_images: int
    search: Objective = F1
    average: str = "micro"
    shrink: float | None = None
    cross_validated: bool = False
    bags: int = 0
    unreached: tuple[str, ...] = ()
    global_reached: bool = True

    def at(self, mode: str) -> NDArray[np.float64]:
        """Threshold of each class, float64 [C].

        Args:
            mode: ``global`` or ``per_class``.

        Raises:
            ConfigError: another mode.
        """
        require_choice("thresholds", mode, MODES)
        return self.per_class if mode == "per_class" else np.full(len(self.class_names), self.global_)

    def to_json(self) -> dict[str, Any]:
        """Plain dict; floats survive JSON exactly. ``shrink`` is null for infinity, and absent if unknown."""
        shrink = {} if self.shrink is None else {"shrink": None if isinf(self.shrink) else self.shrink}
        return {
            "global": self.global_,
            "per_class": dict(zip(self.class_names, self.per_class.tolist(), strict=True)),
            "fitted_on": self.fitted_on,
            "objective": self.objective,
            "num_images": self.num_images,
            "search": asdict(self.search),
            "average": self.average,
            **shrink,
            "cross_validated": self.cross_validated,
            "bags": self.bags,
            "unreached": list(self.unreached),
            "global_reached": self.global_reached,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, class_names: Sequence[str] | None = None) -> "Thresholds":
        """Read ``to_json``'s dict; the keys after ``num_images`` may be absent, as in older files.

        Args:
            data: the content of ``thresholds.json``.
            class_names: order wanted, the model's; None keeps the file's.

        Raises:
            ThresholdError: a key is missing, a class is missing or unknown, or a threshold lies outside [0, 1].
        """
        if missing := {"global", "per_class", "fitted_on", "objective", "num_images"} - data.keys():
            raise ThresholdError(f"thresholds lack {', '.join(sorted(missing))}: fit them again")
        by_name = data["per_class"]
        names = tuple(by_name if class_names is None else class_names)
        if strange := sorted(set(names) ^ set(by_name)):
            raise ThresholdError(f"thresholds and model differ in the classes {', '.join(strange)}: fit them again")
        per_class = np.array([by_name[name] for name in names], dtype=np.float64)
        if not all(0 <= value <= 1 for value in (data["global"], *per_class)):
            raise ThresholdError("a threshold lies outside [0, 1]: they are probabilities, not logits; fit them again")
        try:
            search = Objective(**data.get("search", {}))
        except TypeError as error:
            raise ThresholdError(f"thresholds' search {data['search']}: {error}; fit them again") from error
        infinite = "shrink" in data and data["shrink"] is None
        return cls(
            global_=float(data["global"]),
            per_class=per_class,
            class_names=names,
            fitted_on=data["fitted_on"],
            objective=data["objective"],
            num_images=data["num_images"],
            search=search,
            average=data.get("average", "micro"),
            shrink=float("inf") if infinite else data.get("shrink"),
            cross_validated=data.get("cross_validated", False),
            bags=data.get("bags", 0),
            unreached=tuple(data.get("unreached", ())),
            global_reached=data.get("global_reached", True),
        )


def fit_thresholds(
    scores_NC: NDArray[np.floating],
    targets_NC: NDArray[Any],
    *,
    class_names: Sequence[str],
    objective: Objective = F1,
    average: str = "micro",
    shrink: float | None = None,
    bags: int = 0,
    folds: int = 5,
    seed: int = 0,
    fitted_on: str = "holdout",
) -> Thresholds:
    """Fit a global threshold and one per class, rare classes drawn towards the global one.

        t_c = w_c t*_c + (1 - w_c) t_global,   w_c = n_c / (n_c + shrink)

    with n_c positives of the class and t*_c its own optimum. Fit on images that are neither trained on nor reported on,
    or the scores at these thresholds overstate. Without any positive all are 0.5.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: 0 or 1.
        class_names: names, [C].
        objective: what the thresholds maximise; F1 by default.
        average: of the global one: ``micro`` pools all decisions, ``macro`` takes the mean over classes.
        shrink: positives at which a class's own optimum weighs one half, 0 to infinity; None chooses it by
            cross-validation within these images, which takes as long as ``folds`` fits.
        bags: with F-beta, resamples whose optima the global threshold is the centre of (see ``bagging``); 0 takes the
            optimum itself. Of a required recall or precision it always is.
        folds: of the cross-validation, at least 2.
        seed: of its random folds, and of the resamples.
        fitted_on: split the scores belong to.

    Raises:
        ThresholdError: shapes or names do not match, or scores are no probabilities.
        ConfigError: average, shrink or folds out of range.
    """
    _check(scores_NC, targets_NC, class_names)
    require_choice("thresholds.average", average, AVERAGES)
    require(shrink is None or shrink >= 0, "thresholds.shrink", shrink, "must be >= 0; null chooses it")
    require(folds >= 2, "thresholds.folds", folds, "must be at least 2")
    scores_NC, targets_NC = np.asarray(scores_NC, dtype=np.float32), np.asarray(targets_NC, dtype=bool)
    strength = shrink
    if strength is None:
        strength = choose_strength(scores_NC, targets_NC, objective=objective, average=average, folds=folds, seed=seed)
    fitted = fit(scores_NC, targets_NC, objective=objective, average=average)
    bags = bags if objective.kind == "fbeta" and targets_NC.any() else 0
    if bags:
        centre = bagged_threshold(scores_NC, targets_NC, objective=objective, average=average, bags=bags, seed=seed)
        fitted = fitted._replace(global_=centre)
    unreached_C = ~fitted.reached_C & (fitted.positives_C > 0)
    return Thresholds(
        global_=fitted.global_,
        per_class=fitted.shrunk(strength),
        class_names=tuple(class_names),
        fitted_on=fitted_on,
        objective=_in_words(objective, average, strength, chosen=shrink is None, bags=bags),
        num_images=len(scores_NC),
        search=objective,
        average=average,
        shrink=float(strength),
        cross_validated=shrink is None,
        bags=bags,
        unreached=tuple(name for name, missed in zip(class_names, unreached_C, strict=True) if missed),
        global_reached=fitted.global_reached,
    )


def optimism(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], thresholds: Thresholds) -> dict[str, float]:
    """How much better these images look at thresholds fitted on themselves than at thresholds fitted elsewhere.

        optimism = F1(thresholds fitted here) - F1(thresholds given)

    Fitted here in the same way (objective, average, strength, or anew a strength that was cross-validated), so that the
    images are the only difference.
    Micro-F1 is that of the global threshold, macro-F1 that of the per-class ones, over classes with a positive. Where
    F1 is not what the thresholds maximise the difference may be negative.

    Args:
        scores_NC: probabilities in [0, 1].
        targets_NC: 0 or 1.
        thresholds: fitted on other images; classes in the same order.

    Returns:
        ``f1_micro_fit_here``, ``f1_micro_optimism``, ``f1_macro_fit_here``, ``f1_macro_optimism``.

    Raises:
        ThresholdError: as ``fit_thresholds``.
    """
    strength = DEFAULT_SHRINK if thresholds.shrink is None else thresholds.shrink
    here = fit_thresholds(
        scores_NC,
        targets_NC,
        class_names=thresholds.class_names,
        objective=thresholds.search,
        average=thresholds.average,
        shrink=None if thresholds.cross_validated else strength,
        bags=thresholds.bags,
        fitted_on="the images scored",
    )
    found: dict[str, float] = {}
    for name, score, mode in (("f1_micro", f1_micro, "global"), ("f1_macro", f1_macro, "per_class")):
        own, given = (
            score(count_decisions(by_threshold(scores_NC, fitted.at(mode)), targets_NC))
            for fitted in (here, thresholds)
        )
        found |= {f"{name}_fit_here": own, f"{name}_optimism": own - given}
    return found


def _in_words(objective: Objective, average: str, strength: float, *, chosen: bool, bags: int) -> str:
    pulled = f", shrunk to the global by n/(n+{strength:g})" if strength else ", not shrunk"
    drawn = "the global" if isinf(strength) else f"{objective}{pulled}"
    centre = f", centre of {bags} bootstrap optima" if bags else ""
    return f"global: {average}-{objective}{centre}; per_class: {drawn}" + (
        ", chosen by cross-validation" if chosen else ""
    )


def _check(scores_NC: NDArray[np.floating], targets_NC: NDArray[Any], class_names: Sequence[str]) -> None:
    if scores_NC.ndim != 2 or scores_NC.shape != targets_NC.shape:
        raise ThresholdError(f"scores {scores_NC.shape} and targets {targets_NC.shape}: expected the same [N, C]")
    if len(set(class_names)) != scores_NC.shape[1]:
        raise ThresholdError(f"{len(set(class_names))} different class names for {scores_NC.shape[1]} classes")
    if scores_NC.size and not (scores_NC.min() >= 0 and scores_NC.max() <= 1):
        raise ThresholdError("scores outside [0, 1]: thresholds are fitted to probabilities, not logits")
