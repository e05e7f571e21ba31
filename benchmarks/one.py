"""Measures one row in this process: ``python -m benchmarks.one ROW SETTINGS RESULT``, started by ``__main__``."""

import json
import os
import sys
from pathlib import Path

from benchmarks.registry import ROWS
from benchmarks.settings import Settings


def main(name: str, settings: str, result: str) -> None:
    """Write the findings of row ``name`` to the file ``result``."""
    findings = ROWS[name].load()(Settings.loads(settings))
    Path(result).write_text(json.dumps([finding.to_json() for finding in findings]))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stderr.flush()
    os._exit(0)  # threads of a peer (FFCV's, with numba 0.68) may keep the interpreter from ending
