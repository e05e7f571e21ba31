"""What holds for the project as a whole: sizes, and that every command in the documents is a valid one."""

import re
import shlex
from pathlib import Path

import pytest

from src import compare, describe, evaluate, export, predict, prepare, sweep, train
from src.config.check import problems
from src.config.store import register
from tests.conftest import ROOT

LONGEST_FILE = 300
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "data").glob("*.md"))]
CONFIGS = {
    "train": "config", "evaluate": "evaluate", "predict": "predict", "export": "export", "describe": "describe",
    "prepare": "prepare", "compare": "compare", "sweep": "sweep",
}  # fmt: skip
EXAMPLES = {"model.name": "resnet18", "loss": "bce"}
"""What stands for a placeholder in capitals, where any word does not do."""


def test_files__none_is_too_long() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > LONGEST_FILE} == {}
    assert len(lines) > 50


def test_files__every_package_has_a_docstring_and_nothing_else() -> None:
    for path in (ROOT / "src").rglob("__init__.py"):
        code = [line for line in path.read_text().splitlines() if line and not line.startswith(('"""', "__version__"))]
        assert code == [], path


def test_tests__basenames_are_unique() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def commands(text: str) -> list[str]:
    """Commands of code blocks and of inline code, without comments; those after ``$`` show a mistake on purpose."""
    blocks = re.findall(r"^(?: {2,}|```\w*\n)?(python -m src\.[^\n`]*)$", text, flags=re.MULTILINE)
    inline = re.findall(r"`(python -m src\.[^`\n]+)`", text)
    return [line.partition("  #")[0].strip() for line in [*blocks, *inline]]


def documented() -> list[tuple[str, str]]:
    found = [(path.name, line) for path in DOCUMENTS for line in commands(path.read_text())]
    entries = (train, evaluate, predict, export, describe, prepare, compare, sweep)
    found += [(f"{module.__name__} --help", line) for module in entries for line in commands(module.USAGE)]
    return list(dict.fromkeys(found))


def filled_in(word: str) -> str:
    key, equals, value = word.partition("=")
    return f"{key}={EXAMPLES.get(key.lstrip('+'), 'x')}" if equals and re.fullmatch(r"[A-Z_]{3,}", value) else word


def check(command: str) -> list[str]:
    _, _, module, *words = shlex.split(command)
    overrides = [filled_in(word) for word in words if not word.startswith("-")]
    return problems(CONFIGS[module.removeprefix("src.")], overrides, multirun="-m" in words)


@pytest.mark.parametrize("command", [line for _, line in documented()], ids=[f"{a}: {b}" for a, b in documented()])
def test_documents__every_command_is_valid(command: str) -> None:
    register()
    assert check(command) == []


def test_documents__there_are_commands_in_readme_and_in_help() -> None:
    sources = [source for source, _ in documented()]
    assert sources.count("README.md") >= 10
    assert {f"src.{name} --help" for name in CONFIGS} <= set(sources)


def test_documents__mistakes_shown_are_answered_as_shown() -> None:
    register()
    text = (ROOT / "README.md").read_text()
    shown = re.findall(r"\$ (python -m src\.[^\n]*)\n((?: *error: [^\n]*\n)+)", text)
    assert shown
    for command, answer in shown:
        lines = [line.strip().removeprefix("error: ") for line in answer.splitlines()]
        assert check(command) == lines


def test_documents__every_test_named_as_evidence_exists() -> None:
    """docs/traps.md names files and functions."""
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    functions = set(re.findall(r"`(test_\w+__\w+)`", text))
    assert files
    assert functions
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(name for name in files if not (ROOT / name).is_file()) == []
    assert sorted(name for name in functions if f"def {name}(" not in tests) == []


def test_documents__links_lead_to_files() -> None:
    for path in DOCUMENTS:
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
        assert [target for target in targets if not (path.parent / target).exists()] == [], path


def test_paths__named_in_the_layout_exist() -> None:
    """Names of modules in docs/architecture.md's table of rooms."""
    text = (ROOT / "docs/architecture.md").read_text()
    folders = re.findall(r"^ {4}src/(\w+)/ ", text, flags=re.MULTILINE)
    assert {"config", "run", "data", "models"} <= set(folders)
    assert [name for name in folders if not Path(ROOT / "src" / name).is_dir()] == []
