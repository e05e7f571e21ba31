"""Search spaces: what a trial's command line is, and mistakes that are answered before a trial begins."""

import subprocess
import sys
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from src.config.check import problems, to_dataclass
from src.config.names import CONF_DIR, groups
from src.config.schema.errors import ConfigError
from src.config.schema.sweep import (
    ParameterConfig,
    StudyConfig,
    SweepConfig,
    active_parameters,
    corners,
    trial_overrides,
)
from src.config.space import space_problems, study_overrides, trial_config
from src.config.store import register
from tests.conftest import ROOT

LR = ParameterConfig(key="optimizer.lr", low=1e-4, high=1e-2, log=True)
LOSS = ParameterConfig(key="loss", kind="choice", choices=["bce", "focal", "asl"])
GAMMA = ParameterConfig(key="loss.gamma", kind="int", low=1, high=3, when={"loss": "focal"})
SPACE = {"lr": LR, "loss": LOSS, "gamma": GAMMA}


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


def study(*overrides: str) -> StudyConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config: StudyConfig = to_dataclass(compose("sweep", list(overrides)))
    return config


def parameter(**values: Any) -> ParameterConfig:
    return ParameterConfig(**{"key": "optimizer.lr", "low": 0.1, "high": 1.0, **values})


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({}, "sweep.space={}: nothing to search"),
        ({"x": parameter(kind="flaot")}, "sweep.space.x.kind=flaot: .*did you mean sweep.space.x.kind=float?"),
        ({"x": parameter(low=None)}, "sweep.space.x.low=None: kind=float needs low and high"),
        ({"x": parameter(low=2.0)}, r"sweep.space.x.low=2.0: must be < high \(1.0\)"),
        ({"x": parameter(low=0.0, log=True)}, "sweep.space.x.low=0.0: must be > 0 with log=true"),
        ({"x": parameter(step=0.1, log=True)}, "sweep.space.x.step=0.1: does not go with log=true"),
        ({"x": parameter(step=2.0)}, "sweep.space.x.step=2.0: must lie in"),
        ({"x": parameter(kind="int")}, "sweep.space.x.low=0.1: must be a whole number"),
        ({"x": parameter(choices=[1])}, r"sweep.space.x.choices=\[1\]: belongs to kind=choice"),
        ({"x": parameter(kind="choice", choices=[1])}, "sweep.space.x.low=.*belongs to kind=float or int"),
        ({"x": ParameterConfig(key="loss", kind="choice")}, "sweep.space.x.choices=.*must list values"),
        ({"x": ParameterConfig(key="loss", kind="choice", choices=[[1]])}, "must be texts, numbers"),
        ({"gamma": GAMMA, "loss": LOSS}, "sweep.space.gamma.when=loss: must be the key of a choice parameter before"),
        ({"loss": LOSS, "x": parameter(when={"loss": "focl"})}, r"x.when=loss: \['focl'\]: is not among the choices"),
        ({"a": LR, "b": LR}, "sweep.space.b.key=optimizer.lr: sweep.space.a has it too"),
    ],
)
def test_sweep_config__names_parameter_and_rule(space: dict[str, ParameterConfig], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        SweepConfig(space=space)


def test_sweep_config__one_key_twice_where_conditions_exclude_each_other() -> None:
    apart = {"a": parameter(when={"loss": "focal"}), "b": parameter(when={"loss": ["bce", "asl"]})}
    assert SweepConfig(space={"loss": LOSS, **apart}).space.keys() == {"loss", "a", "b"}
    with pytest.raises(ConfigError, match="give both a 'when' apart"):
        SweepConfig(space={"loss": LOSS, "a": apart["a"], "b": parameter(when={"loss": ["bce", "focal"]})})


def test_active_parameters__conditions_are_judged_while_values_are_drawn() -> None:
    def drawn(loss: str) -> list[str]:
        values: dict[str, Any] = {}
        for name, _ in active_parameters(SPACE, values):
            values[name] = {"lr": 0.001, "loss": loss, "gamma": 2}[name]
        return list(values)

    assert drawn("focal") == ["lr", "loss", "gamma"]
    assert drawn("bce") == ["lr", "loss"]


def test_active_parameters__a_condition_on_something_that_is_not_drawn_does_not_hold() -> None:
    inner = parameter(when={"loss.gamma": 2})
    names = [name for name, _ in active_parameters({**SPACE, "inner": inner}, {"loss": "bce"})]
    assert names == ["lr", "loss"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lr": 0.00123456789}, ["optimizer.lr=0.0012346"]),
        ({"loss": "focal", "gamma": 2}, ["loss=focal", "loss.gamma=2"]),
    ],
)
def test_trial_overrides__readable(values: dict[str, Any], expected: list[str]) -> None:
    assert trial_overrides([], SPACE, values) == expected


@pytest.mark.parametrize("value", [0.9999999, 1e-7, 0.1 + 0.2])
def test_trial_overrides__rounding_never_leaves_the_range(value: float) -> None:
    inside = {"x": ParameterConfig(key="callbacks.ema_decay", low=1e-7, high=0.9999999)}
    (text,) = trial_overrides([], inside, {"x": value})
    assert 1e-7 <= float(text.partition("=")[2]) <= 0.9999999
    assert float(text.partition("=")[2]) == pytest.approx(value, rel=1e-4)


def test_trial_overrides__take_the_place_of_the_same_key() -> None:
    base = ["+experiment=smoke", "loss=asl", "loss.scale=2"]
    assert trial_overrides(base, SPACE, {"loss": "bce"}) == ["+experiment=smoke", "loss.scale=2", "loss=bce"]


def test_trial_overrides__choices_of_every_type_reach_the_configuration() -> None:
    choices = ParameterConfig(key="x", kind="choice", choices=[])
    typed = [trial_overrides([], {"x": choices}, {"x": value})[0] for value in (None, True, False, 3, "a b", "it's")]
    assert typed == ["x=null", "x=true", "x=false", "x=3", "x='a b'", r"x='it\'s'"]
    named = ["loss=focal", "loss.alpha=null", "callbacks.ema=false", "logger.project='it\\'s mine'"]
    config = trial_config_in_hydra(named)
    assert (config.loss.alpha, config.callbacks.ema, config.logger.project) == (None, False, "it's mine")  # type: ignore[attr-defined]


def trial_config_in_hydra(overrides: list[str]) -> Any:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return trial_config(overrides)


def test_corners__hold_every_choice_and_both_ends_of_every_range() -> None:
    found = list(corners(SPACE))
    assert {values["loss"] for values in found} == {"bce", "focal", "asl"}
    assert {values["lr"] for values in found} == {1e-4, 1e-2}
    assert {values["gamma"] for values in found if "gamma" in values} == {1, 3}
    assert all(("gamma" in values) == (values["loss"] == "focal") for values in found)
    assert [values["lr"] for values in corners({"lr": LR})] == [1e-4, 1e-2]


def test_space_problems__name_the_parameter_and_the_nearest_key() -> None:
    unknown = {"lr": parameter(key="optimizer.lrr"), "gamma": ParameterConfig(key="loss.gamma", low=1, high=2)}
    assert space_problems(unknown, ["+experiment=smoke"]) == [
        "sweep.space.lr: optimizer.lrr: no such key; did you mean optimizer.lr?",
        "sweep.space.gamma: loss.gamma: no such key with this choice; it belongs to loss=focal",
    ]
    choice = ParameterConfig(key="loss", kind="choice", choices=["focl", "bce"])
    found = space_problems({"loss": choice, "lr": parameter(low=-1.0, high=-0.5)}, [])
    assert found[0].startswith("sweep.space.loss: loss=focl: no such choice; did you mean loss=focal?")
    assert found[1:] == [f"sweep.space.lr: optimizer.lr={end}: must be > 0" for end in (-1.0, -0.5)]


def test_space_problems__a_fixed_key_that_some_choice_lacks() -> None:
    (line,) = space_problems({"loss": LOSS}, ["loss=focal", "loss.gamma=1"])
    assert line == "loss.gamma: no such key with this choice; it belongs to loss=focal"


@pytest.mark.parametrize("name", groups()["sweep"])
def test_conf__every_search_space_fits_the_training_configuration(name: str) -> None:
    assert space_problems(study(f"sweep={name}").sweep.space, []) == []


def test_conf__sweep_starts_from_the_training_defaults() -> None:
    lists = [yaml.safe_load((CONF_DIR / f"{name}.yaml").read_text())["defaults"] for name in ("config", "sweep")]
    train, sweep = ([entry for entry in entries if isinstance(entry, dict)] for entries in lists)
    assert [entry for entry in sweep if "sweep" not in entry] == train


def test_study__is_the_training_configuration_of_its_overrides() -> None:
    config = study("+experiment=focal", "sweep.space.lr.high=0.1", "~sweep.space.ema_decay")
    assert type(config) is StudyConfig
    assert (config.name, type(config.loss).__name__) == ("focal", "FocalConfig")
    assert config.sweep.space["lr"].high == 0.1
    assert "ema_decay" not in config.sweep.space


def test_study_overrides__tells_training_from_search() -> None:
    typed = ["+experiment=focal", "sweep=loss", "sweep.trials=3", "~sweep.space.lr", "name=sweeper"]
    assert study_overrides(typed) == (["+experiment=focal", "name=sweeper"], typed[1:4])


def test_problems__of_the_search_itself() -> None:
    wrong = ["sweep.trails=3", "sweep.space.lr.hihg=3", "sweep.pruner=hyperbnd", "sweep.name=../x", "sweep.workers=-1"]
    expected = ["did you mean sweep.trials?", "did you mean sweep.space.lr.high?", "must be >= 1",
                "did you mean sweep.pruner=hyperband?", "it names a folder"]  # fmt: skip
    found = problems("sweep", wrong)
    assert [hint in line for hint, line in zip(expected, found, strict=True)] == [True] * 5
    (unknown,) = problems("sweep", ["sweep=defalt"])
    assert "did you mean sweep=default?" in unknown


@pytest.mark.parametrize("typed", ["sweep=default", "+sweep=default", "sweep.trials=3"])
def test_problems__training_names_the_command_that_searches(typed: str) -> None:
    assert problems("config", [typed]) == [f"{typed}: belongs to python -m src.sweep"]


def test_command_line__a_wrong_space_exits_before_torch_and_optuna() -> None:
    code = (
        "import sys; sys.argv = ['sweep', '+experiment=smoke', 'sweep=smoke', 'sweep.space.lr.key=optimizer.rl']\n"
        "from src.sweep import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'optuna' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "False", "False"]
    assert done.stderr.startswith("error: sweep.space.lr: optimizer.rl: no such key; did you mean optimizer.lr?")
    assert done.stderr.count("\n") == 1
