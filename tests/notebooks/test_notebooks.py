"""The notebooks: stripped, thin, and run from top to bottom on a short sweep."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

from src.callbacks.checkpoint_io import load_checkpoint
from src.config.schema.root import Job
from src.run.training import train
from src.runfolder import RunFolder
from tests.conftest import ROOT, Compose

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 9


@pytest.fixture(scope="session")
def executor() -> ModuleType:
    """notebooks/execute.py, which is no package."""
    spec = importlib.util.spec_from_file_location("execute_notebooks", ROOT / "notebooks/execute.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def outputs(smoke: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two losses, one of them with two seeds, as a sweep would leave them."""
    folder = tmp_path_factory.mktemp("outputs")
    for number, (seed, loss) in enumerate([(0, "bce"), (1, "bce"), (0, "asl")]):
        overrides = [f"seed={seed}", f"loss={loss}", "trainer.max_epochs=1", "data.image_size=32", "report=false"]
        train(Job(smoke(*overrides), folder / f"sweeps/time/{number}_smoke", overrides, resumed=False))
    return folder


Execute = Callable[..., nbformat.NotebookNode]


@pytest.fixture
def execute(executor: ModuleType, outputs: Path, tmp_path: Path) -> Execute:
    """Run a notebook by its number; the executed copy."""

    def run(number: str, **parameters: object) -> nbformat.NotebookNode:
        (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        page = executor.execute(path, tmp_path, parameters={"OUTPUT_DIR": str(outputs), **parameters})
        assert page.read_text().startswith("<!DOCTYPE html>")
        return nbformat.read(tmp_path / path.name, as_version=4)

    return run


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in found.get("data", {}) for cell in notebook.cells for found in cell.get("outputs", []))


def last_output(notebook: nbformat.NotebookNode) -> str:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return str(code[-1].outputs[-1].data["text/plain"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook__holds_no_outputs(path: Path) -> None:
    content = json.loads(path.read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert not any(cell.get("attachments") for cell in content["cells"])
    assert "widgets" not in content["metadata"]
    nbformat.validate(nbformat.from_dict(content))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebook__is_thin_and_begins_with_its_parameters(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert cells[0].source.startswith("# ")
    assert code[0].startswith(("RUN =", "RUNS ="))
    assert [cell.source for cell in cells if cell.cell_type == "markdown" and cell.source.startswith("## Decision")]
    for source in code[1:]:
        assert len([line for line in source.splitlines() if line and "import" not in line]) <= LONGEST_CELL, source
        assert not any(line.startswith(("def ", "class ")) for line in source.splitlines()), source


def test_notebooks__there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01_class_imbalance", "02_f1_thresholds", "03_compare_runs"]


@pytest.mark.slow
def test_class_imbalance__runs_and_ends_in_commands(execute: Execute, outputs: Path) -> None:
    done = execute("01", RUN=str(outputs / "sweeps/time/0_smoke"), CHANGE="loss=focal")
    assert pictures(done) == 4
    told = last_output(done)
    assert "loss=focal seed=0,1 -m" in told
    assert "loss=bce" in told.splitlines()[0]
    assert "python -m src.compare" in told


@pytest.mark.slow
def test_f1_thresholds__runs_and_writes_the_choice_back(execute: Execute, outputs: Path) -> None:
    run = RunFolder(outputs / "sweeps/time/1_smoke")
    before = run.read_json("thresholds.json")
    done = execute("02", RUN=str(run.path), CHOSEN="F2")
    assert pictures(done) == 5
    after = run.read_json("thresholds.json")
    assert "F2" in after["objective"]
    assert after["fitted_on"] == "holdout"
    assert load_checkpoint(run.best)["thresholds"] == after
    assert run.read_json("thresholds.previous.json") == before


@pytest.mark.slow
def test_compare_runs__runs_and_names_the_run_to_keep(execute: Execute, outputs: Path) -> None:
    done = execute("03")
    assert pictures(done) == 3
    told = last_output(done)
    assert str(outputs / "sweeps/time") in told
    assert "95% interval" in told


@pytest.mark.slow
def test_execute__a_cell_that_fails_is_an_error(executor: ModuleType, outputs: Path, tmp_path: Path) -> None:
    path = ROOT / "notebooks/03_compare_runs.ipynb"
    with pytest.raises(executor.CellExecutionError, match="latest_sweep: none under"):
        executor.execute(path, tmp_path, parameters={"OUTPUT_DIR": str(tmp_path / "nowhere")})
