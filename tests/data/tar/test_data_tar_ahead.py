"""What is fetched ahead: the shards needed next, once each, as many as fit."""

import logging
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.errors import DataError
from src.data.tar import ahead as tar_ahead
from src.data.tar.ahead import Stretches, TarsAhead


@given(shards=st.lists(st.integers(-1, 6), max_size=40), at=st.integers(-5, 45), room=st.integers(0, 40))
def test_stretches__ahead_is_what_is_still_needed_by_first_need(shards, at, room):
    sizes = [3, 1, 4, 1, 5, 9, 2]
    by_first_need = list(dict.fromkeys(shard for shard in shards if shard >= 0))
    needed = [shard for shard in by_first_need if shard in shards[max(at, 0) :]]
    expected, used = [], 0
    for shard in needed:
        used += sizes[shard]
        if used > room:
            break
        expected.append(shard)
    found = Stretches(np.array(shards, np.int32), sizes).ahead(at, room=room)
    assert list(found) == expected


class Folder:
    """Stands for ``TarFolder``: notes what is fetched."""

    bound = 10

    def __init__(self, failing=()):
        self.there, self.asked, self.failing = [], threading.Event(), failing

    def __contains__(self, number):
        return number in self.there

    def fetch(self, number, *, kept):
        if number in self.failing:
            raise DataError("away")
        self.there.append(number)
        return True


def settled(ahead):
    thread = ahead._thread
    if thread:
        thread.join(5)


@pytest.mark.parametrize("failing", [(), (2,)])
def test_tars_ahead__fetches_what_fits_in_order_and_goes_on_after_a_failure(failing, caplog, monkeypatch):
    monkeypatch.setattr(tar_ahead, "_log", logging.getLogger("tests.tars_ahead"))  # other tests may quieten the room's
    caplog.set_level(logging.WARNING, logger="tests.tars_ahead")
    rows, shards_N = np.array([4, 5, 0, 1, 2, 3]), np.array([0, 0, 1, 1, 2, 2], np.int32)
    folder = Folder(failing)
    ahead = TarsAhead(folder, lambda chosen: shards_N[chosen], [5, 5, 5], lag=0)
    ahead(rows, 0)
    settled(ahead)
    assert folder.there == [number for number in (2, 0) if number not in failing]
    ahead(rows, 2)
    settled(ahead)
    assert folder.there == [number for number in (2, 0, 1) if number not in failing]
    assert ("away" in caplog.text) == bool(failing)
