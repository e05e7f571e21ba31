"""Runs with data.decode: what is decided, said and refused."""

from pathlib import Path

import pytest
import yaml

from src.config.schema.errors import UserError
from tests.run.conftest import SHORT, Run


def decode_of(folder: Path) -> str:
    return str(yaml.safe_load((folder / "config.yaml").read_text())["data"]["decode"])


def test_train__decodes_on_the_device_where_asked(run: Run, tmp_path: Path) -> None:
    found = run(tmp_path / "run", *SHORT, "data.decode=device")
    assert found.read_json("summary.json")["status"] == "finished"
    assert found.read_json("env.json")["cache"] == "JPEGs decoded by cpu (asked for)"
    assert decode_of(found.path) == "device"


def test_train__auto_is_settled_for_good_and_says_why(run: Run, tmp_path: Path) -> None:
    found = run(tmp_path / "run", *SHORT, "data.decode=auto")
    assert found.read_json("env.json")["cache"] == "JPEGs decoded by the loader (the run trains on the CPU)"
    assert decode_of(found.path) == "cpu"


def test_train__refuses_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.decode=device: albumentations does a part"):
        run(tmp_path / "run", *SHORT, "data.decode=device", "augment.cutout=0.5")
    assert not (tmp_path / "run").exists()
