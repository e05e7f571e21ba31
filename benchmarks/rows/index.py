"""Index of a full-size instances json against pycocotools."""

import shutil
import tempfile
from pathlib import Path

from benchmarks.findings import Finding, memory, seconds
from benchmarks.instances import ensure_train_json
from benchmarks.measuring import BenchmarkError, Spent, Turns, inner, interleave, python, run_process
from benchmarks.settings import Settings

PEER = "pycocotools COCO() + loop"


def measure_index(settings: Settings) -> list[Finding]:
    """Build time, peak memory of the process that builds, time to load from the cache."""
    annotations = ensure_train_json(settings.folder, small=settings.small)
    annotations.read_bytes()  # both sides find it in the page cache
    with tempfile.TemporaryDirectory(dir=settings.folder) as folder:
        cache = Path(folder) / "cache"
        loads: list[Spent] = []

        def build_and_load() -> Spent:
            shutil.rmtree(cache, ignore_errors=True)
            built = _ours(annotations, cache)
            loads.append(_ours(annotations, cache))
            return built

        turns = interleave(build_and_load, lambda: _peer(annotations), repeats=settings.repeats)
    found = [spent.answer["found"] for spent in (*turns.ours, *turns.peers, *loads)]
    if any(one != found[0] for one in found):
        raise BenchmarkError(f"the readers disagree about {annotations}: {found}")
    built = seconds(Turns([inner(s) for s in turns.ours], [inner(s) for s in turns.peers]), settings.clock)
    loaded = seconds(Turns([inner(s) for s in loads], [inner(s) for s in turns.peers]), settings.clock)
    size = f"{annotations.stat().st_size / 2**20:.0f} MB json, {found[0]['images']:,} images; without imports"
    return [
        Finding(row="index", what="build the index", peer=PEER, rule="ratio", target=12, note=size, **built),
        Finding(row="index", what="build: peak memory", peer=PEER, rule="ratio", target=4, **memory(turns)),
        Finding(row="index", what="load it from the cache", peer=PEER, rule="ratio", target=150, **loaded),
    ]


def _ours(annotations: Path, cache: Path) -> Spent:
    return run_process(python("-m", "benchmarks.scripts.index_ours", annotations, cache))


def _peer(annotations: Path) -> Spent:
    return run_process(python("-m", "benchmarks.scripts.index_pycocotools", annotations))
