"""Executes the notebooks and writes them with their output to outputs/notebooks/; those in this folder stay stripped.

python notebooks/execute.py [--output-dir outputs] [--only 02]

Where there is no sweep yet, a short one on the built-in sample is made first: two losses, two seeds, about a minute.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SECONDS = 600
SWEEP = ("+experiment=smoke", "loss=bce,asl", "seed=0,1", "callbacks.progress=none", "report=false", "-m")


def execute(path: Path, folder: Path, *, parameters: Mapping[str, object]) -> Path:
    """Run one notebook from top to bottom.

    Args:
        path: the stripped notebook.
        folder: where the executed copy goes, as .ipynb and .html.
        parameters: set after its first code cell, in place of what stands there.

    Returns:
        Path of the HTML.

    Raises:
        CellExecutionError: a cell failed; the copy is written up to it.
    """
    notebook = nbformat.read(path, as_version=4)
    first = next(i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code")
    if parameters:
        given = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
        notebook.cells.insert(first + 1, nbformat.v4.new_code_cell(given))
    by_file = Config(KernelManager=Config(transport="ipc"))  # no network port, and no warning about one
    where = {"metadata": {"path": ROOT}}
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=where, config=by_file)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{path.stem}.html"
    try:
        client.execute()
    finally:
        nbformat.write(notebook, folder / path.name)
        html, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
        page.write_text(html)
    return page


def ensure_runs(output_dir: Path) -> None:
    """Make a short sweep on the built-in sample where there is none; exits with its code if that fails."""
    if any(output_dir.glob("sweeps/*/*/summary.json")):
        return
    command = [sys.executable, "-m", "src.train", *SWEEP, f"output_dir={output_dir}"]
    sys.stdout.write(f"no sweep under {output_dir}/sweeps yet: {' '.join(SWEEP)}\n")
    sys.stdout.flush()
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Execute all of them, or those whose name begins with ``--only``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=ROOT / "outputs", help="where runs are")
    parser.add_argument("--only", default="", help="beginning of a name, such as 02")
    arguments = parser.parse_args()
    output_dir = arguments.output_dir.resolve()
    ensure_runs(output_dir)
    for path in sorted(HERE.glob(f"{arguments.only}*.ipynb")):
        try:
            page = execute(path, output_dir / "notebooks", parameters={"OUTPUT_DIR": str(output_dir)})
        except CellExecutionError as error:
            sys.exit(f"{path.name}: {error.ename}: {error.evalue}")
        sys.stdout.write(f"{path.name}: {page}\n")


if __name__ == "__main__":
    main()
