"""What a device has: memory that TensorFlow may use, and speed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carlib.errors import look_up

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Device:
    """What training runs on.

    Args:
        name: As people call it.
        usable: Bytes that TensorFlow's allocator may have, the CUDA context and TensorFlow's own
            reserve already off.
        context: Bytes of the CUDA context; 0 on a CPU.
        reserve: Bytes that TensorFlow leaves to the system; 0 on a CPU.
        kind: "gpu" or "cpu".
    """

    name: str
    usable: int
    context: int = 0
    reserve: int = 0
    kind: str = "gpu"


DEVICES = {
    "T4": Device("T4", 13_737 * MIB, 290 * MIB, 1050 * MIB),
}


def device_named(name: str) -> Device:
    """Return a device by name, or one of so much memory ("16GB")."""
    found = re.fullmatch(r"(\d+) ?GB", name)
    if found:
        return Device(name, int(found[1]) * 10**9 - (290 + 1050) * MIB, 290 * MIB, 1050 * MIB)
    return look_up(DEVICES, name, "device")
