"""Which image of the labels is which member of the shards."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from src.data.coco.checks import shown
from src.data.errors import DataError

_FORMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("name", lambda name: name),
    ("name without its ending", lambda name: name.rpartition(".")[0] or name),
    ("name without folder and ending", lambda name: name.rpartition("/")[2].rpartition(".")[0] or name),
)


def match_members(
    names: Sequence[str], members: Sequence[str], places: Sequence[str], *, what: str
) -> NDArray[np.int64]:
    """Position in ``members`` of each image, int64 [N].

    Names are compared whole; where that leaves images over, without their ending, then without their folder too: a json
    may say ``train2017/000123.jpg``, and the shard hold ``000123.jpeg``.

    Args:
        names: of the images, as in the labels.
        members: names in all shards.
        places: the shard of each member.
        what: the labels and the shards, for errors.

    Raises:
        DataError: images that are in no shard, or in several places: the first ten and how many.
    """
    best: tuple[list[str], str, NDArray[np.int64], dict[str, list[int]]] | None = None
    for said, form in _FORMS:
        keys = [form(name) for name in names]
        if len(set(keys)) < len(keys):
            continue
        found, repeated = _look_up(keys, [form(name) for name in members])
        absent = [names[row] for row in np.flatnonzero(found < 0).tolist()]
        if best is None or len(absent) < len(best[0]):
            best = (absent, said, found, repeated)
        if not absent:
            break
    if best is None:
        raise DataError(f"{what}: two images of the labels have one name")
    absent, said, found, repeated = best
    if absent:
        count = f"{len(absent):,} of {len(names):,} images of the labels are in no shard (compared by {said})"
        raise DataError(f"{what}: {count}:\n  " + shown(absent, "\n  "))
    if repeated:
        twice = [f"{key}: {', '.join(places[at] for at in ats)}" for key, ats in repeated.items()]
        count = f"{len(twice):,} images are in the shards more than once (compared by {said})"
        raise DataError(f"{what}: {count}; keep one of each:\n  " + shown(twice, "\n  "))
    return found


def _look_up(keys: Sequence[str], members: Sequence[str]) -> tuple[NDArray[np.int64], dict[str, list[int]]]:
    """Position of each key, -1 where it is missing; all positions of keys that come more than once."""
    rows = {key: row for row, key in enumerate(keys)}
    found = np.full(len(keys), -1, np.int64)
    repeated: dict[str, list[int]] = {}
    for at, member in enumerate(members):
        row = rows.get(member)
        if row is None:
            continue
        if found[row] >= 0:
            repeated.setdefault(member, [int(found[row])]).append(at)
        else:
            found[row] = at
    return found, repeated
