"""A kernel's log: its text, how long it went on, and whether memory ran out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

# TensorFlow's, NumPy's, carlib's, the system's and Kaggle's own words for it.
_MEMORY = re.compile(
    r"out of memory|ResourceExhausted|OOM when allocating|\bMemoryError\b|CUDA_ERROR_OUT_OF_MEMORY"
    r"|allocate more memory than is available",
    re.IGNORECASE,
)
# TensorFlow's allocator found another way: slower, but nothing failed.
_HARMLESS = "not a failure"
_LIST = re.compile(r"\s*(?:\[\s*(?:\{\s*\"|\]|$)|\{\s*\")")  # not "[NbConvertApp] ..."
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Kaggle turns every notebook into a page afterwards, and says so below whatever ended it.
_KAGGLES = re.compile(r"\[NbConvertApp\] (?!ERROR)")
_REASON = re.compile(r"(?:[\w.]*(?:Error|Exception|Interrupt)|carlib)\b: ")


def plain_log(log: str) -> str:
    """Return a kernel's log as text: Kaggle keeps it as a list of pieces, each with its time.

    >>> plain_log('[{"stream_name": "stdout", "time": 1.5, "data": "epoch 1\\\\n"}]')
    'epoch 1\\n'
    """
    return "".join(piece for _, piece in _pieces(log)) or ("" if _is_list(log) else log)


def log_seconds(log: str) -> float | None:
    """Return the time of a log's last piece, in seconds of its session; None without times.

    >>> log_seconds('[{"stream_name": "stdout", "time": 1.5, "data": "epoch 1"}]')
    1.5
    """
    times = [time for time, _ in _pieces(log) if time is not None]
    return max(times, default=None)


def _pieces(log: str) -> Iterator[tuple[float | None, str]]:
    # A list, a list that was cut off, or an object a line.
    decoder, at = json.JSONDecoder(), 0 if _is_list(log) else len(log)
    while (at := log.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(log, at)
        except ValueError:
            return
        if "data" in found:
            time = found.get("time")
            yield (float(time) if isinstance(time, int | float) else None), str(found["data"])


def _is_list(log: str) -> bool:
    return bool(_LIST.match(log))


def ran_out_of_memory(text: str) -> bool:
    """Say whether a log tells of too little memory, the GPU's or the machine's.

    >>> ran_out_of_memory("RunError: out of memory (OOM when allocating tensor)")
    True
    """
    lines = (line for line in text.splitlines() if _HARMLESS not in line)
    return any(map(_MEMORY.search, lines))


def reason(text: str) -> str:
    """Return the line of a log that says why a session failed; its last one where none does.

    >>> reason("ValueError: no photos\\nshutting down\\n")
    'ValueError: no photos'
    """
    lines = tail(text, len(text))
    return next(filter(_REASON.match, reversed(lines)), lines[-1] if lines else "")


def tail(text: str, lines: int = 15) -> list[str]:
    """Return the last lines of a log that say something, without colours and Kaggle's own.

    >>> tail("a\\n\\nb\\n", lines=1)
    ['b']
    """
    said = (_COLOURS.sub("", line).rstrip() for line in text.splitlines())
    return [line for line in said if line.strip() and not _KAGGLES.match(line)][-lines:]
