"""What a benchmark run was asked for; travels as JSON to the process that measures a row."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

CLOCKS = ("wall", "cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One run of the benchmarks."""

    folder: Path
    """Where generated inputs are kept between runs."""
    repeats: int = 0
    """Interleaved repeats; 0 takes each row's own number."""
    small: bool = False
    """Tiny inputs: a check that every row works, its numbers mean nothing."""
    originals: Path | None = None
    """Folder of original JPEGs; None generates photos."""
    coco: Path | None = None
    """Folder in COCO's layout for the rows that train; None makes one of the photos."""
    threads: int = 1
    """Threads of the rows that may use all cores; rows "per core" take one."""
    clock: str = "wall"
    """wall | cpu: seconds that the table compares; the JSON has both."""

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(
            {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}
        )

    @classmethod
    def loads(cls, text: str) -> "Settings":
        """From ``dumps``."""
        values = json.loads(text)
        for key in ("folder", "originals", "coco"):
            values[key] = None if values[key] is None else Path(values[key])
        return cls(**values)


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_originals() -> Path | None:
    """Originals beside the real images that COCO_REAL names, where they are."""
    real = os.environ.get("COCO_REAL")
    beside = Path(real).resolve().parent / "coco-originals" if real else None
    return beside if beside and beside.is_dir() else None
