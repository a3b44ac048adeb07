"""Figures as a reader of the page wants them."""

from __future__ import annotations

import base64
import math
from datetime import datetime

UNKNOWN = "\N{EN DASH}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number to so many significant digits."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def count(value: float | None) -> str:
    """Return a count with its thousands apart."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:,.0f}"


def moment(text: str) -> str:
    """Return an ISO 8601 time to the minute; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text


def clock(seconds: float | None) -> str:
    """Return seconds for people: "4.2 s", "43 s", "2 min 5 s", "12 min", "1 h 40 min"."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def url(content: bytes, kind: str) -> str:
    """Return an image as the address of itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
