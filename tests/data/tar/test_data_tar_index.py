"""The index of a tar: right offsets, kept, renewed with the shard; damage is named."""

import gzip
import io
import os
import tarfile

import pytest
import webdataset

from src.data.errors import DataError
from src.data.tar.index import index_shards, scan
from src.data.tar.shards import TarShard, find_shards

CONTENTS = {
    "a/0.jpg": b"zero" * 300,
    "a/0.json": b"{}",
    "1.JPEG": b"one",
    "2.png": b"",
    ".3.jpg": b"x",
    "__m__.jpg": b"y",
}
IMAGES = ["a/0.jpg", "1.JPEG", "2.png"]


@pytest.fixture
def tar(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        file.addfile(folder)
        for name, data in CONTENTS.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize("form", ["{}", "pipe:cat {}"])
def test_scan__images_lie_where_it_says(tar, form):
    record = scan(TarShard(form.format(tar), "now"))
    data = tar.read_bytes()
    assert (record.names, record.size, record.stamp) == (IMAGES, len(data), "now")
    for name, at, size in zip(record.names, record.offsets, record.sizes, strict=True):
        assert data[at : at + size] == CONTENTS[name]


def test_scan__long_names_and_a_tar_of_the_library(tmp_path):
    path, key = tmp_path / "b.tar", "folder/" + "k" * 150
    with webdataset.TarWriter(str(path)) as writer:
        writer.write({"__key__": key, "jpg": b"long", "cls": b"7"})
    record = scan(TarShard(str(path), ""))
    assert record.names == [f"{key}.jpg"]
    assert path.read_bytes()[record.offsets[0] :].startswith(b"long")


@pytest.mark.parametrize("form", ["{}", "pipe:cat {}"])
def test_scan__a_tar_that_ends_early_anywhere_is_an_error(tar, form, tmp_path):
    data, last = tar.read_bytes(), scan(TarShard(str(tar), "")).offsets[-1]
    end = next(at for at in range(last, len(data), 512) if data[at : at + 512] == bytes(512))
    for size in [*range(0, end, 300), *range(0, end + 1, 512), end + 511]:
        path = tmp_path / "cut.tar"
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"cut\.tar: (empty, not a tar|damaged or incomplete tar|ends after)"):
            scan(TarShard(form.format(path), ""))
        if form != "{}" and size > 1000:
            break  # a process each


@pytest.mark.parametrize("form", ["{}", "pipe:cat {}"])
def test_scan__a_compressed_tar_is_refused_with_the_reason(tar, form, tmp_path):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tar.read_bytes()))
    with pytest.raises(DataError, match=r"a\.tar\.gz: is compressed; .* unpack it"):
        scan(TarShard(form.format(path), ""))


def test_scan__something_else_is_refused(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"\xff\xd8" + bytes(range(256)) * 8)
    with pytest.raises(DataError, match="damaged or incomplete tar"):
        scan(TarShard(str(path), ""))


def test_index_shards__is_kept_and_renewed_where_a_shard_or_the_record_changes(tar, tmp_path):
    shards, seen = find_shards(str(tar)), []
    first = index_shards(shards, tmp_path / "kept", on_shards=lambda done, total: seen.append((done, total)))
    assert index_shards(shards, tmp_path / "kept", on_shards=lambda *given: seen.append(given)) == first
    assert seen == [(1, 1)]
    os.utime(tar, ns=(1, 1))
    changed = find_shards(str(tar))
    assert index_shards(changed, tmp_path / "kept")[0].stamp == changed[0].stamp != first[0].stamp
    (record,) = (tmp_path / "kept").glob("*.index")
    record.write_bytes(record.read_bytes()[:-9])
    assert index_shards(changed, tmp_path / "kept")[0].names == IMAGES
