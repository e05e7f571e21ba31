"""Mistakes on the command line: every one named, with the nearest valid name, before torch is imported."""

import subprocess
import sys
import time
from typing import Any

import pytest
from hydra import compose

from src.config import check
from src.config.check import composed, flatten, problems
from src.config.cli import entry
from src.config.help import attribute_docs, help_text
from src.config.names import CONF_DIR, every_key, groups
from src.config.schema.loss import FocalConfig
from src.config.schema.variants import SCHEMAS
from src.config.store import register
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["loss=focl"], "loss=focl: no such choice; did you mean loss=focal?"),
        (["+experiment=foc"], "did you mean +experiment=focal?"),
        (["experiment=focal"], "write +experiment=focal"),
        (["data.bach_size=3"], "data.bach_size: no such key; did you mean data.batch_size?"),
        (["lr=1"], "did you mean optimizer.lr?"),
        (["losss=bce"], "did you mean loss?"),
        (["loss.gama=2"], "did you mean loss.gamma? It belongs to loss=focal"),
        (["+loss.gama=2"], "loss.gama: no such key"),
        (["+trainer.max_epochs=2"], "trainer.max_epochs is there already; write it without +"),
        (["loss.scale=abc"], "loss.scale=abc: must be a number"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5: must be a whole number"),
        (["callbacks.ema=maybe"], "callbacks.ema=maybe: must be true or false"),
        (["loss=focal", "loss.gamma=-1"], "loss.gamma=-1.0: must be >= 0; 0 gives BCE"),
        (["data.empty=kep"], "did you mean data.empty=keep?"),
        (["trainer.precision=fp16", "trainer.device=cpu"], "fp16 needs CUDA"),
        (["loss=focal,bce"], "several values are a sweep; add -m"),
        (["+experiment=focal,bce"], "several values are a sweep; add -m"),
        (["model=timm"], "model.name: must be given"),
        (["loss.gamma"], "loss.gamma: cannot be read as key=value, for it has no ="),
        (["loss.gamma=[1"], "cannot be read as key=value ("),
        (["seed=-3"], "seed=-3: must lie in 0..2^31-1"),
        (["name=../x"], "it names a folder"),
    ],
)
def test_problems__names_key_and_way_out(overrides: list[str], expected: str) -> None:
    found = problems("config", overrides)
    assert len(found) == 1
    assert expected in found[0]


def test_problems__all_at_once() -> None:
    found = problems("config", ["loss.gama=2", "lr=1", "data.batch_size=-1", "trainer.accumulate=0", "objective=f1"])
    assert [line.split(":")[0].split("=")[0] for line in found] == [
        "loss.gama", "lr", "data.batch_size", "trainer.accumulate", "objective",
    ]  # fmt: skip


def test_problems__an_unknown_choice_hides_no_other_mistake() -> None:
    found = problems("config", ["loss=focl", "loss.gamma=9", "thresholds.target=2", "data.batch_size=-1"])
    assert [line.split(":")[0] for line in found] == ["loss=focl", "data.batch_size=-1", "thresholds.target=2.0"]


@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (
            ["--resume", "latest", "--batch-size=8", "--experiment=focal"],
            [
                "--resume: a key is written without dashes: resume=VALUE; --help lists all",
                "--batch-size=8: a key is written without dashes: batch_size=8; --help lists all",
                "--experiment=focal: a key is written without dashes: +experiment=focal; --help lists all",
            ],
        ),
        (
            ["-m", "seed=0,1", "--cfg", "job"],
            ["--cfg with -m: it shows the values of one job; leave out one of them"],
        ),
        (
            ["--config-name=focal", "seed=1"],
            ["--config-name: this command has its own; +experiment=NAME adds a file of conf/experiment to it"],
        ),
    ],
)
def test_command_line__words_with_dashes_that_cannot_be(
    words: list[str], answers: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["train", *words])
    with pytest.raises(SystemExit) as end:
        entry(lambda _: None, config_name="config", usage="")
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"error: {line}" for line in answers]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("epochs", "scheduler.warmup_epochs or trainer.max_epochs"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("threads", "trainer.num_threads"),
        ("sede", "seed"),
    ],
)
def test_problems__a_key_is_found_by_its_last_word(key: str, meant: str) -> None:
    assert problems("config", [f"{key}=3"]) == [f"{key}: no such key; did you mean {meant}?"]


def test_problems__unknown_choice_does_not_blame_its_keys() -> None:
    assert len(problems("config", ["loss=focl", "loss.gamma=2"])) == 1


def test_problems__a_mistyped_key_costs_one_composition(monkeypatch: pytest.MonkeyPatch) -> None:
    composed_with: list[list[str]] = []

    def counted(config_name: str, overrides: list[str]) -> Any:
        composed_with.append(list(overrides))
        return compose(config_name, overrides)

    monkeypatch.setattr(check, "compose", counted)
    found = problems("config", ["loss.gama=2", "lr=1", "trainer.epochs=3", "data.batch_size=-1"])
    assert len(found) == 4
    assert composed_with == [["data.batch_size=-1"]]


def test_every_key__holds_all_keys_of_all_entries() -> None:
    """A key missing here would be refused although it exists."""
    for name in ("config", "evaluate", "describe", "compare", "sweep"):
        known = every_key(name)
        leaves = [key for key, _, _ in flatten(composed(name, [])[0]) if not key.startswith("hydra.")]
        assert leaves
        assert [key for key in leaves if key not in known and not key.startswith("sweep.space.")] == []
    assert "loss.gamma" in every_key("config")


def test_problems__every_job_of_a_sweep_is_checked() -> None:
    found = problems("config", ["loss=bce,focal", "seed=0,-1"], multirun=True)
    assert found == ["seed=-1: must lie in 0..2^31-1"]


@pytest.mark.parametrize("choice", [(group, name) for group, names in groups().items() for name in names])
def test_conf__every_choice_composes(choice: tuple[str, str]) -> None:
    group, name = choice
    typed = f"+{group}={name}" if group == "experiment" else f"{group}={name}"
    extra = ["model.name=resnet18"] if choice == ("model", "timm") else []
    assert problems("sweep" if group == "sweep" else "config", [typed, *extra]) == []


def test_conf__no_targets_and_every_file_names_its_schema() -> None:
    for path in CONF_DIR.rglob("*.yaml"):
        text = path.read_text()
        assert "_target_" not in text, path
        assert path.parent.name == "experiment" or "- /schema/" in text, path


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_schema__every_field_has_a_docstring(schema: type) -> None:
    groups_of_root = {
        "data",
        "augment",
        "model",
        "loss",
        "optimizer",
        "scheduler",
        "trainer",
        "callbacks",
        "logger",
        "debug",
        "thresholds",
    }
    undocumented = set(schema.__dataclass_fields__) - set(attribute_docs(schema)) - groups_of_root
    assert not undocumented


def test_help__lists_groups_keys_defaults_and_docs() -> None:
    text = help_text("config", composed("config", ["loss=focal"])[0], usage="usage")
    assert "loss        asl | bce | focal | soft_f1 | two_way" in text
    assert "loss.gamma=2.0" in text
    assert attribute_docs(FocalConfig)["gamma"] in text


def test_command_line__typo_exits_before_torch() -> None:
    """One line, exit code 2, and torch never imported; the time is of a whole process."""
    code = (
        "import sys; sys.argv = ['train', 'loss.gama=1']\n"
        "from src.train import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "False", "False"]
    assert done.stderr == "error: loss.gama: no such key; did you mean loss.gamma? It belongs to loss=focal\n"
    assert time.perf_counter() - started < 30  # a hang, not a benchmark
