"""What all rules speak of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from carlib.memory.walk import FLOAT, size_of

Back = Callable[[int], None]
Made = tuple[int, Back | None]


def is_half(layer: Any) -> bool:
    """Return whether a layer computes in half precision."""
    return size_of(layer.compute_dtype) == 2


def kernel_bytes(kernel: Any) -> int:
    """Return the bytes of a weight in float32."""
    return int(math.prod(kernel.shape)) * FLOAT
