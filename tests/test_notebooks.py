"""The notebooks are thin, stored without outputs, and run from top to bottom."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def plain(source):
    """The Python in a cell: IPython's own lines are left out, with a pass in their place."""
    lines = source.splitlines()
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + "pass" if line.lstrip()[:1] in "%!" else line
        for line in lines
        if line.strip()
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_thin(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert 1 <= len(cells) <= 12
    assert cells[0].metadata.get("tags") == ["parameters"]
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in cells:
        assert not cell.outputs
        assert cell.execution_count is None
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= 6
        kinds = {type(node) for node in ast.walk(ast.parse(plain(cell.source)))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs_from_top_to_bottom(path, photos, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    parameters = code_cells(notebook)[0]
    parameters.source += f'\nDATA = {str(photos)!r}\nRECIPE = "tiny-check"\n'
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute(env=environment)
    rows = (tmp_path / "submission.csv").read_text().splitlines()
    assert rows[0] == "Id,Category"
    assert len(rows) == 1 + 12
    assert (tmp_path / "run/report.html").is_file()
    shown = "".join(str(output) for cell in code_cells(notebook) for output in cell.outputs)
    assert "done=True" in shown
    assert "report.html" in shown
