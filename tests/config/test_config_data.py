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
