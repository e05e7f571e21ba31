"""A run's configuration survives being written down."""

import pytest
import yaml

from src.config.schema.data import SampleConfig
from src.config.schema.errors import ConfigError
from src.config.schema.optim import AdamConfig, AdamWConfig
from src.config.schema.variants import from_plain, to_plain
from tests.conftest import Compose


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("loss", ["bce", "focal", "soft_f1", "asl", "two_way"])
def test_to_plain__round_trip_keeps_variants(smoke: Compose, optimizer: str, loss: str) -> None:
    config = smoke(f"optimizer={optimizer}", f"loss={loss}")
    assert from_plain(yaml.safe_load(yaml.safe_dump(to_plain(config))), where="config.yaml") == config


def test_to_plain__adam_is_not_taken_for_adamw(smoke: Compose) -> None:
    content = to_plain(smoke("optimizer=adam"))
    assert type(from_plain(content, where="x").optimizer) is AdamConfig
    content["variants"]["optimizer"] = "optimizer/adamw"
    assert type(from_plain(content, where="x").optimizer) is AdamWConfig
    assert type(from_plain(content, where="x").data) is SampleConfig


def test_from_plain__unknown_key_names_the_file(smoke: Compose) -> None:
    content = to_plain(smoke())
    content["loss"]["gama"] = 1
    with pytest.raises(ConfigError, match=r"runs/x/config\.yaml: not a configuration of this version .*gama"):
        from_plain(content, where="runs/x/config.yaml")
