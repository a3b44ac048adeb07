"""Every option of a recipe with its default and meaning, from the docstrings that define them."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re

from carlib.spec.parts import ModelSpec, Recipe
from carlib.spec.phase import Phase

PARTS = ((Recipe, "A recipe"), (ModelSpec, "`[model]`"), (Phase, "`[[phases]]`"))


def reference() -> str:
    """Return all options as Markdown: docs/reference.md.

    >>> reference().splitlines()[0]
    '# Options of a recipe'
    """
    parts = [
        "# Options of a recipe\n\nA recipe file is TOML or JSON; `--set` changes single options, "
        "such as `seed=1`, `model.size=128`,\n`phases.head.lr=1e-3` or `phases.*.epochs=2`. What "
        "is not said is at its default."
    ]
    for kind, title in PARTS:
        said = _arguments(kind)
        lines = [f"## {title}\n", "| option | default | meaning |", "| --- | --- | --- |"]
        for entry in dataclasses.fields(kind):
            if entry.name in ("model", "phases"):
                continue
            meaning = re.sub(r"\s*Defaults to [^.]*(\.\d[^.]*)*\.$", "", said[entry.name])
            lines.append(f"| `{entry.name}` | {_default(entry)} | {meaning.replace('|', '/')} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _default(entry: dataclasses.Field[object]) -> str:
    if entry.default is dataclasses.MISSING:
        return "must be said"
    return f"`{json.dumps(entry.default)}`"


def _arguments(kind: type) -> dict[str, str]:
    """What a docstring says of each argument, on one line."""
    text = inspect.getdoc(kind) or ""
    block = text.split("Args:\n")[1].split("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", block, re.MULTILINE)
    return {name: " ".join(words.split()).replace("``", "`") for name, words in found}
