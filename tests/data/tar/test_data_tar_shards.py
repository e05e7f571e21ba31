"""Shards are found where they lie, and what is missing is named."""

import json
import re
import sys

import pytest

from src.data.errors import DataError
from src.data.tar.shards import TarShard, find_shards, opened


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        (tmp_path / f"a-{number:02d}.tar").write_bytes(bytes(number))
    return tmp_path


def names(shards):
    return [shard.place.rpartition("/")[2] for shard in shards]


def test_find_shards__glob_range_list_and_several(folder):
    whole = [f"a-{number:02d}.tar" for number in range(12)]
    assert names(find_shards(f"{folder}/a-*.tar")) == whole
    assert names(find_shards(f"{folder}/a-{{00..11}}.tar")) == whole
    assert names(find_shards(f"{folder}/a-{{03,01}}.tar::{folder}/a-00.tar")) == ["a-03.tar", "a-01.tar", "a-00.tar"]
    entries = [{"url": "a-05.tar", "nsamples": 3}, {"url": str(folder / "a-02.tar"), "nsamples": 4}]
    (folder / "list.json").write_text(json.dumps({"__kind__": "wids-shard-index-v1", "shardlist": entries}))
    assert [shard.place for shard in find_shards(f"{folder}/list.json")] == [
        str(folder / "a-05.tar"),
        str(folder / "a-02.tar"),
    ]


def test_find_shards__relative_to_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert names(find_shards("a-0?.tar")) == [f"a-{number:02d}.tar" for number in range(10)]


def test_find_shards__missing_ones_are_counted_and_ten_named(folder):
    with pytest.raises(DataError, match=r"19 of 31 shards are missing") as caught:
        find_shards(f"{folder}/a-{{00..30}}.tar")
    lines = str(caught.value).splitlines()
    assert lines[1].strip() == str(folder / "a-12.tar")
    assert len(lines) == 12
    assert lines[-1].strip() == "and 9 more"


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{}/b-*.tar", "no such file"),
        ("{}/a-00.tar::{}/a-00.tar", "named twice: .*a-00.tar"),
        ("{}/none.json", "cannot be read: No such file"),
        ("http://127.0.0.1:9/a.tar", "http://127.0.0.1:9/a.tar: the server cannot be reached"),
    ],
)
def test_find_shards__mistakes_are_named(folder, pattern, message):
    with pytest.raises(DataError, match=message):
        find_shards(pattern.format(folder, folder))


@pytest.mark.parametrize(("content", "message"), [("[]", "not a list of shards"), ('{"shardlist": []}', "is empty")])
def test_find_shards__a_list_that_is_none(folder, content, message):
    (folder / "list.json").write_text(content)
    with pytest.raises(DataError, match=message):
        find_shards(f"{folder}/list.json")


def test_find_shards__http_stamps_change_with_the_file_and_missing_ones_are_named(folder, serve):
    url = serve(folder).url
    (one,) = find_shards(f"{url}/a-03.tar")
    assert one.is_remote
    assert find_shards(f"{url}/a-{{03..03}}.tar") == [one]
    (folder / "a-03.tar").write_bytes(b"another")
    (other,) = find_shards(f"{url}/a-03.tar")
    assert (other.key, other.version != one.version) == (one.key, True)
    with pytest.raises(DataError, match=rf"1 of 2 shards are missing.*\n  {re.escape(url)}/a-12.tar"):
        find_shards(f"{url}/a-{{11..12}}.tar")


def test_find_shards__without_the_library_says_how_to_install_it(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "webdataset", None)
    assert len(find_shards(f"{folder}/a-*.tar")) == 12
    with pytest.raises(DataError, match=r"not installed; pip install 'webdataset>=1\.0', or '\.\[shards\]'"):
        find_shards(f"{folder}/a-{{00..11}}.tar")


def test_opened__every_way_gives_the_bytes(folder, serve):
    for place in (f"{folder}/a-07.tar", f"pipe:cat {folder}/a-07.tar", f"{serve(folder).url}/a-07.tar"):
        with opened(place) as stream:
            assert stream.read() == bytes(7)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("pipe:exit 3", "pipe:exit 3: cannot be fetched: .*exit 3"),
        ("s3://bucket/a.tar", "cannot open such a URL .*pipe:COMMAND runs any program"),
        ("/nowhere/a.tar", "/nowhere/a.tar: cannot be read: No such file"),
    ],
)
def test_opened__failures_name_the_place(place, message):
    with pytest.raises(DataError, match=message), opened(place) as stream:
        stream.read()


def test_opened__a_missing_program_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="needs the program curl, which is not installed"), opened("http://x/a.tar"):
        pass


def test_shard__same_name_elsewhere_has_another_key():
    assert TarShard("one/a.tar", "").key != TarShard("two/a.tar", "").key
    assert "/" not in TarShard("pipe:cat x/a.tar | head -c 9", "").key
