"""A finished run, read back for a notebook."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import yaml
from numpy.typing import NDArray

from src.analysis.imbalance import groups
from src.analysis.judgement import Judgement, judge
from src.analysis.thresholds import Thresholds
from src.config.schema.root import TrainConfig
from src.run.assembly import build_data
from src.run.evaluation import run_config
from src.run.hardware import choose
from src.runfolder import Predictions, Record, RunFolder, find_run


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRun:
    """What a run left behind, and the targets it was trained on.

    Attributes:
        folder: its paths.
        config: as it was made.
        class_names: C names.
        train_targets: multi-hot, [N, C], the holdout left out.
        fitting: scores of the images that thresholds may be fitted on.
        val: scores of the images that nothing was chosen on.
        thresholds: in force now.
        records: one per epoch.
    """

    folder: RunFolder
    config: TrainConfig
    class_names: tuple[str, ...]
    train_targets: NDArray[np.uint8]
    fitting: Predictions
    val: Predictions
    thresholds: Thresholds
    records: Sequence[Record]

    def judge(self, thresholds: Thresholds | None = None, *, resamples: int = 1000) -> Judgement:
        """Every metric of val at these thresholds, the run's own by default."""
        thresholds = self.thresholds if thresholds is None else thresholds
        return judge(
            self.val.scores,
            self.val.targets,
            class_names=self.class_names,
            global_threshold=thresholds.global_,
            class_thresholds_C=thresholds.per_class,
            groups_C=groups(self.train_targets.sum(axis=0, dtype=np.int64)),
            resamples=resamples,
        )


def read_run(name: str, *, output_dir: str = "outputs") -> FinishedRun:
    """Read a run.

    Args:
        name: run folder, or ``latest``.
        output_dir: where ``latest`` looks.

    Raises:
        UserError: no such run, one that did not get to its end, or its data is gone.
    """
    folder = RunFolder(find_run(name, output_dir=output_dir))
    config = run_config(folder)
    thresholds = folder.read_json("thresholds.json")
    val = folder.read_predictions("val")
    hardware = choose(device="cpu", precision="fp32", num_threads=0, num_workers=0)
    data = build_data(config, hardware)
    return FinishedRun(
        folder=folder,
        config=config,
        class_names=tuple(val.class_names),
        train_targets=data.train_targets,
        fitting=folder.read_predictions(data.monitor_split),
        val=val,
        thresholds=Thresholds.from_json(thresholds, class_names=val.class_names),
        records=folder.read_records(),
    )


def commands_to_try(run: FinishedRun, change: str, *, seeds: Sequence[int] = (0, 1)) -> list[str]:
    """What to type to find out whether a change helps: the run again, and the run with it, each with these seeds.

    Args:
        run: the starting point.
        change: overrides with spaces between them, such as ``loss=asl data.sampler=repeat_factor``; empty for none.
        seeds: two or more tell an effect from the luck of a seed.
    """
    changes = change.split()
    earlier = [str(text) for text in yaml.safe_load((run.folder.path / "overrides.yaml").read_text())]
    base = _without(earlier, ("seed=", "output_dir=", "resume="))
    changed = [*_without(base, changes), *changes]
    trains = dict.fromkeys(shlex.join(["python", "-m", "src.train", *words]) for words in (base, changed))
    sweep = f"seed={','.join(map(str, seeds))} -m"
    return [*(f"{line} {sweep}" for line in trains), "python -m src.compare runs=[SWEEP_A,SWEEP_B]"]


def _without(overrides: Sequence[str], others: Sequence[str]) -> list[str]:
    """Overrides whose key none of the others has."""
    keys = {_key(text) for text in others}
    return [text for text in overrides if _key(text) not in keys]


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
