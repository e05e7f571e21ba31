"""What is answered before a command line is composed."""

import sys

import pytest

from src.config.cli import entry


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+experiment=focal", "+experiment=bce"], "experiment: given 2 times (focal, bce); one at a time"),
        ([f"data.shards={i}" for i in range(6)], "data.shards: given 6 times (0, 1, 2, 3, ...); the shell"),
    ],
)
def test_entry__a_key_given_twice_is_refused(words, expected, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *words])
    with pytest.raises(SystemExit, match="2"):
        entry(lambda _: pytest.fail("begun"), config_name="config", usage="")
    assert capsys.readouterr().err.startswith(f"error: {expected}")
