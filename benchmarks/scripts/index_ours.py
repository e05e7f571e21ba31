"""Index an instances json, or load the index where the cache holds it; says how long that took."""

import json
import sys
import time
from pathlib import Path

from src.data.coco.index import load_index


def main(annotations: str, cache_dir: str) -> None:
    """Print seconds and what was found, as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    index = load_index(Path(annotations), image_dir=None, cache_dir=Path(cache_dir))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = {"images": len(index), "labels": len(index.ann_class), "classes": len(index.class_names)}
    sys.stdout.write(json.dumps({"wall": wall, "cpu": cpu, "found": found}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
