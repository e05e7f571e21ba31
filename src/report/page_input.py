"""What a report shows: the parts of a run folder, and the pictures of its mistakes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.analysis.calibration import Calibration
from src.analysis.imbalance import GROUP_NAMES, groups
from src.analysis.judgement import Judgement
from src.analysis.thresholds import Thresholds
from src.runfolder import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryItem:
    """One mistake with its picture."""

    kind: Literal["false_negative", "false_positive"]
    image_id: int
    class_idx: int
    class_name: str
    score: float
    threshold: float
    true_classes: Sequence[str]
    predicted_classes: Sequence[str]
    """Classes at or above their threshold."""
    jpeg: bytes | None
    """None where the image could not be read; ``reason`` then says why."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportInput:
    """All that the page shows."""

    name: str
    path: str
    """Of the run folder, as shown."""
    split: str
    """What was scored."""
    config: Mapping[str, Any]
    env: Mapping[str, Any]
    summary: Mapping[str, Any]
    """Content of summary.json; may be empty."""
    records: Sequence[Record]
    """One per epoch; may be empty."""
    judgement: Judgement
    thresholds: Thresholds
    """In the order of ``class_names``."""
    scores: NDArray[np.float32]
    """[N, C]."""
    targets: NDArray[np.uint8]
    """[N, C]."""
    class_names: Sequence[str]
    train_targets: NDArray[np.uint8] | None
    """Of the training images; None where unknown, then the imbalance shown is that of the scored split."""
    gallery: Sequence[GalleryItem]
    """Worst first."""
    fitted_here: bool
    """Thresholds were fitted on these very images: their scores are optimistic."""
    calibration: Calibration | None = None
    """Fitted on other images; its effect on these scores is shown."""

    @property
    def label_targets(self) -> NDArray[np.uint8]:
        """Targets whose imbalance is shown."""
        return self.targets if self.train_targets is None else self.train_targets

    @property
    def per_class(self) -> pd.DataFrame:
        """The judgement's table with ``train_count`` (nan where unknown) and every ``group`` known."""
        table = self.judgement.per_class.reset_index(drop=True)
        trained = np.nan if self.train_targets is None else self.train_targets.sum(axis=0, dtype=np.int64)
        by_count = [GROUP_NAMES[group] for group in groups(self.label_targets.sum(axis=0, dtype=np.int64))]
        known = table["group"].isin(GROUP_NAMES)
        return table.assign(train_count=trained, group=table["group"].where(known, pd.Series(by_count)))
