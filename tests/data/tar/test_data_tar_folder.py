"""Copies of remote shards: within the bound at any moment, the one read longest ago goes first, one fetch for all."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from src.data.errors import DataError
from src.data.tar import folder as tar_folder
from src.data.tar.folder import TarFolder
from src.data.tar.shards import find_shards
from src.locks import locked

SIZE, COUNT = 40_000, 6


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(tar_folder, "RETRIES_SECONDS", (0.0, 0.0))


@pytest.fixture
def remote(tmp_path, serve):
    origin = tmp_path / "origin"
    origin.mkdir()
    for number in range(COUNT):
        (origin / f"a-{number}.tar").write_bytes(bytes([number]) * SIZE)
    return serve(origin), origin


def make(tmp_path, server, *, bound=3 * SIZE):
    shards = find_shards(f"{server.url}/a-{{0..{COUNT - 1}}}.tar")
    return TarFolder(tmp_path / "copies", shards, [SIZE] * COUNT, bound=bound)


def used(folder):
    return sum(path.stat().st_size for path in folder._folder.iterdir())


def held(folder):
    return {number for number in range(COUNT) if number in folder}


def read(folder, number):
    with folder.open(number) as file:
        return file.read()


def test_open__gives_the_shard_and_fetches_it_once(tmp_path, remote):
    folder = make(tmp_path, remote[0])
    assert [read(folder, 2) for _ in range(3)] == [bytes([2]) * SIZE] * 3
    assert remote[0].fetched == {"a-2.tar": 1}


def test_fetch__the_copy_read_longest_ago_makes_room(tmp_path, remote):
    folder = make(tmp_path, remote[0])
    for number in (0, 1, 2, 0, 3):
        read(folder, number)
        time.sleep(0.01)
    assert held(folder) == {0, 2, 3}
    assert used(folder) == 3 * SIZE


def test_fetch__kept_ones_stay_and_no_room_is_said(tmp_path, remote):
    folder = make(tmp_path, remote[0])
    for number in (0, 1, 2):
        assert folder.fetch(number, kept=[0, 1, 2])
    assert not folder.fetch(3, kept=[0, 1, 2, 3])
    assert folder.fetch(3, kept=[0, 2, 3])
    assert held(folder) == {0, 2, 3}


def test_bound__is_kept_at_every_moment_with_many_readers(tmp_path, remote):
    folder, most, done = make(tmp_path, remote[0], bound=int(2.5 * SIZE)), [0], threading.Event()

    def watch():
        while not done.is_set():
            try:
                most[0] = max(most[0], used(folder))
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(5) as pool:
        numbers = [number for step in range(4) for number in ((step + at) % COUNT for at in range(COUNT))]
        contents = list(pool.map(lambda number: read(folder, number), numbers))
    done.set()
    watcher.join()
    assert contents == [bytes([number]) * SIZE for number in numbers]
    assert SIZE < most[0] <= 2.5 * SIZE


def test_fetch__processes_share_one_copy(tmp_path, remote):
    folder = make(tmp_path, remote[0])
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=folder.fetch, args=(4,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert remote[0].fetched == {"a-4.tar": 1}


def test_fetch__what_a_killed_process_left_is_removed(tmp_path, remote):
    folder = make(tmp_path, remote[0])
    read(folder, 0)
    (copy,) = folder._folder.glob("*.tar")
    left = copy.with_name("gone.part")
    left.write_bytes(bytes(3 * SIZE))
    read(folder, 1)
    assert not left.exists()
    assert held(folder) == {0, 1}
    left.write_bytes(bytes(SIZE))
    with locked(left.with_suffix(".lock")):  # one that is being written counts
        read(folder, 2)
        assert left.exists()
        assert used(folder) == 3 * SIZE
    assert len(held(folder)) == 2


def test_fetch__a_transfer_that_breaks_is_tried_again(tmp_path, remote, caplog):
    server, _ = remote
    server.failing = 2
    assert read(make(tmp_path, server), 3) == bytes([3]) * SIZE
    assert server.fetched == {"a-3.tar": 3}
    assert caplog.text.count("trying again in 0 s") == 2


def test_fetch__a_shard_that_changed_or_a_server_that_refuses_is_named(tmp_path, remote):
    server, origin = remote
    folder = make(tmp_path, server)
    for size in (SIZE - 1, SIZE + 1):
        (origin / "a-5.tar").write_bytes(bytes(size))
        with pytest.raises(DataError, match=rf"a-5\.tar: .*bytes came instead of {SIZE:,}; it has changed"):
            read(folder, 5)
    server.broken = True
    with pytest.raises(DataError, match=r"a-1\.tar: cannot be fetched: .*curl.*exit 22"):
        read(folder, 1)
    assert used(folder) == 0
    assert not [path for path in folder._folder.iterdir() if path.suffix in (".part", ".tar")]
