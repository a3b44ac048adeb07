"""A Python file of a user's own, run by a command before it reads its recipe."""

from __future__ import annotations

import runpy
import traceback
from pathlib import Path

from carlib.errors import RunError, UsageError

_used: list[Path] = []  # in this order


def use(path: Path | str) -> None:
    """Run a Python file, once in a process; it may register what recipes then name.

    Args:
        path: The file; what lies beside it is not importable because of it.

    Raises:
        UsageError: There is no such file.
        RunError: It is not Python, or raises.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mine.py"
    >>> _ = file.write_text("print('mine')")
    >>> use(file)
    mine
    >>> use(file)
    """
    file = Path(path).resolve()
    if file in _used:
        return
    if not file.is_file():
        raise UsageError(f"--use {path}: there is no such file; give the path of a Python file")
    try:
        # A name that no module has: that of the file might stand before an installed one.
        runpy.run_path(str(file), run_name="carlib_used_file")
    # SystemExit: a script's way to end, which would end the command without a word.
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunError(f"--use {path}{_line(error, file)}: {reason}; mend the file") from error
    _used.append(file)


def used() -> tuple[str, ...]:
    """Return the files that this process has run, by absolute paths in their order.

    Another process that runs them knows what they have registered here.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "mine.py"
    >>> _ = file.write_text("")
    >>> use(file)
    >>> used()[-1] == str(file.resolve())
    True
    """
    return tuple(map(str, _used))


def _line(error: BaseException, file: Path) -> str:
    """Where in the file it happened, as ", line 3"; nothing where that is not known."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return ""  # its own text says
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return f", line {lines[-1]}" if lines else ""
