"""The parameters of a thin notebook: read from its tagged cell, and set for a push."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carlib.errors import DataError, UsageError, suggestion

TAG = "parameters"
INJECTED = "injected-parameters"  # papermill's name for the cell that overrides


def read_parameters(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a notebook and their values.

    Raises:
        DataError: No cell is tagged "parameters", or it holds more than constants.

    >>> cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "LIMIT = '1h'"}
    >>> read_parameters({"cells": [cell]})
    {'LIMIT': '1h'}
    """
    cell = notebook["cells"][_tagged(notebook)]
    try:
        tree = ast.parse("".join(cell["source"]))
        return {
            target.id: ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"the notebook's parameters must be names and constants, such as LIMIT = '1h': {error}"
        ) from error


def with_parameters(path: Path, values: Mapping[str, Any]) -> str:
    """Return the text of a notebook with other parameters: a cell after the tagged one sets them.

    Args:
        path: The notebook. It stays as it is; outputs do not come along.
        values: New values, by name.

    Raises:
        DataError: No notebook, or none with parameters.
        UsageError: A name that is not among its parameters.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        # One that was pushed before brings the parameters of that push along.
        notebook["cells"] = [cell for cell in notebook["cells"] if INJECTED not in _tags(cell)]
        cells = notebook["cells"]
        for cell in cells:
            if cell["cell_type"] == "code":
                cell["outputs"], cell["execution_count"] = [], None
    except FileNotFoundError:
        raise DataError(
            f"there is no notebook {path}; run this where carlib's notebooks/ lies, or give "
            "--notebook FILE"
        ) from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(f"{path} is not a notebook: {error!r}") from error
    known = read_parameters(notebook)
    for name in values:
        if name not in known:
            raise UsageError(f"{path} has no parameter {name!r}{suggestion(name, known)}")
    lines = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    injected: dict[str, Any] = {
        "cell_type": "code",
        "id": INJECTED,
        "metadata": {"tags": [INJECTED]},
        "execution_count": None,
        "outputs": [],
        "source": lines,
    }
    cells.insert(_tagged(notebook) + 1, injected)
    return json.dumps(notebook, indent=1) + "\n"


def _tagged(notebook: Mapping[str, Any]) -> int:
    for place, cell in enumerate(notebook["cells"]):
        if TAG in _tags(cell):
            return place
    raise DataError(f"the notebook has no cell tagged {TAG!r}: carlib's own have")


def _tags(cell: Mapping[str, Any]) -> list[str]:
    return list(cell.get("metadata", {}).get("tags", ()))
