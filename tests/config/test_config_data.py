"""Sampler keys on the command line: wrong values are answered in one line with what is right."""

import pytest

from src.config.check import problems
from src.config.schema.data import CACHES, READERS
from src.config.store import register


@pytest.mark.parametrize("entry", ["config", "describe"])
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "data.sampler=repeatfactor",
            "data.sampler=repeatfactor: must be one of uniform, class_aware, repeat_factor; "
            "did you mean data.sampler=repeat_factor?",
        ),
        ("data.sampler=class-aware", "did you mean data.sampler=class_aware?"),
        ("data.repeat_threshold=0", "data.repeat_threshold=0.0: must lie in (0, 1]: a share of the images"),
        ("data.repeat_threshold=1.5", "data.repeat_threshold=1.5: must lie in (0, 1]: a share of the images"),
        ("data.repeat_treshold=0.1", "did you mean data.repeat_threshold?"),
    ],
)
def test_sampler__wrong_values_are_answered_in_one_line(entry: str, override: str, expected: str) -> None:
    register()
    (line,) = problems(entry, [override])
    assert expected in line


@pytest.mark.parametrize("data", ["auto", "coco2017", "sample"])
def test_sampler__is_a_key_of_every_data_source(data: str) -> None:
    register()
    jobs = [f"data={data}", "data.sampler=uniform,class_aware,repeat_factor", "data.repeat_threshold=0.001"]
    assert problems("config", jobs, multirun=True) == []


@pytest.mark.parametrize("entry", ["config", "describe", "prepare"])
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "data.cache=row",
            "data.cache=row: must be one of none, jpeg, raw, device, auto; did you mean data.cache=raw?",
        ),
        ("data.cache_side=8", "data.cache_side=8: must lie in 32..2048; 0 chooses by image_size and crop"),
        ("data.reader=pycoco", "data.reader=pycoco: must be one of msgspec, pycocotools"),
    ],
)
def test_cache__wrong_values_are_answered_in_one_line(entry: str, override: str, expected: str) -> None:
    register()
    (line,) = problems(entry, [override])
    assert expected in line


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("reader", READERS)
def test_cache__every_choice_is_valid(cache: str, reader: str) -> None:
    register()
    assert (
        problems("prepare", [f"data.cache={cache}", f"data.reader={reader}", "data.cache_side=256", "verify=true"])
        == []
    )


@pytest.mark.parametrize("entry", ["config", "prepare", "describe"])
def test_shards__wrong_values_are_answered_in_one_line(entry: str) -> None:
    register()
    for override, expected in (
        ("data.shard_window=-1", "data.shard_window=-1: must be >= 0; 0 mixes all shards"),
        ("data.shard_cache_gb=0", "data.shard_cache_gb=0.0: must be > 0"),
    ):
        assert problems(entry, [override]) == [expected]
    both = ["data.shards=a.tar", "data.cache=raw"]
    assert problems(entry, both) == ["data.cache=raw: must be none with data.shards: training reads the shards"]


def test_shards__patterns_as_a_shell_hands_them_over_are_valid() -> None:
    register()
    for pattern in ("DIR/train-*.tar", '"DIR/train-{0000..0146}.tar"', "https://host/list.json", '"pipe:cat a.tar"'):
        assert problems("config", [f"data.shards={pattern}"]) == []
