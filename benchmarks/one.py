"""Measures one row in this process: ``python -m benchmarks.one ROW SETTINGS RESULT``, started by ``__main__``."""

import json
import os
import sys
from pathlib import Path

from benchmarks.measuring import SkippedError
from benchmarks.registry import ROWS
from benchmarks.settings import Settings


def main(name: str, settings: str, result: str) -> None:
    """Write the findings of row ``name``, or why it was skipped, to the file ``result``."""
    try:
        findings, skipped = ROWS[name].load()(Settings.loads(settings)), ""
    except SkippedError as reason:
        findings, skipped = [], str(reason)
    content = {"findings": [finding.to_json() for finding in findings], "skipped": skipped}
    Path(result).write_text(json.dumps(content))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(0)  # threads of a peer (FFCV's, with numba 0.68) may keep the interpreter from ending
