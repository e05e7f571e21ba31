"""The quick answer to typos against the full one: equal wherever the quick one dares to answer."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.config import plain
from src.config.check import composed, flatten, problems, to_dataclass
from src.config.names import CONF_DIR, every_key, groups
from src.config.plain import UnsureError, compose_plainly
from src.config.quick import quick_problems
from src.config.store import register
from tests.conftest import ROOT

GROUPS = [name for name in groups() if name not in ("sweep", "experiment")]
ENTRIES = ("config", "evaluate", "predict", "export", "describe", "prepare", "compare")
ODD = [
    "'q'", "a b", "[a,b]", "{a:1}", "${name}", "x:y", "a=b", "", "-", "-x", "07", "1_0", "+3", "1.", ".5", "0x10",
    "nan", "inf", "True", "yes", "on", "null", "range(3)", "choice(1,2)", "glob(*)", "???", "ä", "a/", "*",
]  # fmt: skip
PLAIN = ["0", "1", "-1", "8", "0.5", "1.5", "1.0", "-0.0", "1e-3", "2E5", "abc", "macro", "cpu", "fp16", "drop", "true",
         "/x/y.pt", "a.b", "latest", "e5"]  # fmt: skip


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


@st.composite
def mistyped(draw: st.DrawFn, words: list[str]) -> str:
    """One of ``words``, at times with a letter too few or too many."""
    word = draw(st.sampled_from(words))
    place = draw(st.integers(0, len(word) - 1))
    how = draw(st.integers(0, 9))
    return word[:place] + word[place + 1 :] if how == 0 else word[:place] + "e" + word[place:] if how == 1 else word


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[str, list[str], bool]:
    """Entry point, overrides with and without mistakes, whether -m was given."""
    config_name = draw(st.sampled_from(("config", *ENTRIES)))
    values = st.sampled_from(PLAIN) if draw(st.integers(0, 5)) else st.sampled_from(ODD)
    choice = st.sampled_from(GROUPS).flatmap(lambda name: mistyped(groups()[name]).map(lambda text: f"{name}={text}"))
    keys = mistyped(sorted(every_key(config_name)))
    several = st.lists(values, min_size=1, max_size=2).map(",".join) if draw(st.booleans()) else values
    value = st.tuples(st.sampled_from(["", "", "", "", "+"]), keys, several).map(lambda it: f"{it[0]}{it[1]}={it[2]}")
    words = draw(st.lists(st.one_of(value, value, choice), max_size=4))
    if draw(st.integers(0, 3)) == 0:
        words.append(f"+experiment={draw(mistyped(groups()['experiment']))}")
    return config_name, words, draw(st.booleans())


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(command_lines())
def test_quick__says_what_hydra_says_or_nothing(line: tuple[str, list[str], bool]) -> None:
    config_name, words, multirun = line
    quick = quick_problems(config_name, words, multirun=multirun)
    if quick is not None:
        assert quick == problems(config_name, words, multirun=multirun)


@pytest.mark.parametrize(
    ("words", "multirun"),
    [
        (["loss=focl", "model=mobilenet", "+experiment=foc", "loss.gamma=2", "data.batch_size=-1"], False),
        (["loss.gama=2", "lr=1", "trainer.max_epochs=1.5", "callbacks.ema=maybe", "seed=-3", "objective=f1"], False),
        (["experiment=focal", "loss.gamma=1", "optimizer.lr=abc"], False),
        (["loss=focal,bce", "seed=0,1", "data.empty=kep"], False),
        (["loss=focal,focl", "seed=0,-1", "trainer.max_epochs=1.50"], True),
        (["+experiment=smoke,finetune", "data=coco2017", "model.width=9"], True),
        (["model=timm", "data.batch_size=-1"], False),
        (["+experiment=smoke", "data=auto", "data.sample_seed=1"], False),
    ],
)
def test_quick__knows_the_usual_mistakes(words: list[str], multirun: bool) -> None:
    found = quick_problems("config", words, multirun=multirun)
    assert found
    assert found == problems("config", words, multirun=multirun)


@pytest.mark.parametrize(
    "word",
    [
        *(f"name={value}" for value in ODD if value != "null"),
        "++loss.scale=2", "+loss.gama=2", "~logger", "hydra.run.dir=x", "loss@x=bce", "sweep=loss", "thresholds=none",
        "data.classes=a", "logger.tensorboard=1", "logger.wandb=yes", "loss.scale=null", "seed", "Seed=1", "loss=1",
        "data.root.x=1",
    ],
)  # fmt: skip
def test_quick__leaves_to_hydra_what_is_not_plain(word: str) -> None:
    assert quick_problems("config", [word, "lr=1"]) is None


def test_quick__leaves_to_hydra_what_is_given_twice_and_large_sweeps() -> None:
    assert quick_problems("config", ["seed=1", "seed=2", "lr=1"]) is None
    assert (
        quick_problems("config", [f"seed={','.join('0123456789')}", f"name={','.join('abcdefgh')}"], multirun=True)
        is None
    )


def test_plain__every_choice_is_composed_as_by_hydra() -> None:
    """All files of conf/; what is wanted of a new one that is not plain: a line here that says so."""
    lines = [
        {name: names[turn % len(names)] for name, names in groups().items() if name in GROUPS} for turn in range(5)
    ]
    lines += [{"experiment": name} for name in groups()["experiment"]]
    assert {f"{g}/{n}" for line in lines for g, n in line.items()} == {
        f"{g}/{n}" for g, names in groups().items() if g != "sweep" for n in names
    }
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for line in lines:
            words = [f"{'+' if group == 'experiment' else ''}{group}={name}" for group, name in line.items()]
            named = ["model.name=resnet18"] if line.get("model") == "timm" else []
            found, reference = compose_plainly("config", line), compose("config", words + named)
            if named:
                found.set("model.name", "resnet18")
            assert found.build() == to_dataclass(reference), line
            assert found.keys() == [key for key, _, _ in flatten(reference)]


@pytest.mark.parametrize("config_name", ENTRIES)
def test_plain__knows_the_keys_of_every_entry_in_hydras_order(config_name: str) -> None:
    keys = [key for key, _, _ in flatten(composed(config_name, [])[0])]
    assert compose_plainly(config_name, {}).keys() == keys


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nested", "# @package _global_\ndefaults:\n  - focal\n"),
        ("elsewhere", "# @package model\nwidth: 1.0\n"),
        ("interpolated", "# @package _global_\nname: ${loss.scale}\n"),
        ("converted", "# @package _global_\noptimizer:\n  lr: 1e-3\n"),
        ("unknown_key", "# @package _global_\nlosss: 1\n"),
        ("broken", "# @package _global_\nname: [\n"),
    ],
)
def test_plain__an_experiment_of_another_shape_is_left_to_hydra(
    name: str, content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / f"{name}.yaml").write_text(content)
    compose_plainly("config", {})  # the primary config itself is read from where it lies
    monkeypatch.setattr(plain, "CONF_DIR", tmp_path)
    with pytest.raises(UnsureError):
        compose_plainly("config", {"experiment": name})


def test_command_line__typo_exits_before_hydra() -> None:
    code = (
        "import sys; sys.argv = ['train', 'loss.gama=1', 'seed=0,-1', '-m']\n"
        "from src.train import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sorted({'hydra', 'omegaconf', 'antlr4'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2"]
    assert done.stderr == (
        "error: loss.gama: no such key; did you mean loss.gamma? It belongs to loss=focal\n"
        "error: seed=-1: must lie in 0..2^31-1\n"
    )
