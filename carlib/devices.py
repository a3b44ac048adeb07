"""What a device has: memory that TensorFlow may use, and speed."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass

from carlib.errors import UsageError, look_up

MIB = 2**20
TERA, GIGA = 1e12, 1e9
CONTEXT = 290 * MIB  # CUDA's own, its kernels loaded when they are first used (CUDA 11.7 and later)
# A size says nothing of the chip: the reserve of the newest ones that are common.
_ANY_MAJOR = 8
_UNITS = {"MB": 10**6, "GB": 10**9, "MIB": 2**20, "GIB": 2**30}


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
        float32: Floating-point operations a second at the most, as TensorFlow computes float32
            (on tensor cores of TF32 where there are any); 0 where it is not known.
        float16: Likewise of mixed_float16, on tensor cores where there are any.
        bandwidth: Bytes a second between the chip and its memory; 0 where it is not known.
        source: Where the figures come from.
        most: Bytes that may be usable at another moment, where the memory is shared with other
            programs; 0 where ``usable`` is always the same.

    Raises:
        UsageError: A kind that there is not, no usable memory, or a figure below 0.

    >>> DEVICES["T4"].tensor_cores, DEVICES["P100"].tensor_cores
    (True, False)
    """

    name: str
    usable: int
    context: int = 0
    reserve: int = 0
    kind: str = "gpu"
    float32: float = 0.0
    float16: float = 0.0
    bandwidth: float = 0.0
    source: str = ""
    most: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("gpu", "cpu"):
            raise UsageError(f"Device: kind must be gpu or cpu; received {self.kind!r}")
        if self.usable < 1:
            raise UsageError(f"Device: usable must be 1 byte or more; received {self.usable}")
        for field in ("context", "reserve", "float32", "float16", "bandwidth", "most"):
            value = getattr(self, field)
            if not 0 <= value < math.inf:
                raise UsageError(f"Device: {field} must be 0 or more; received {value}")

    @property
    def total(self) -> int:
        """Bytes of memory that the driver shows."""
        return self.usable + self.context + self.reserve

    @property
    def timed(self) -> bool:
        """Whether its speed is known, so that hours can be guessed for it."""
        return min(self.float32, self.float16, self.bandwidth) > 0

    @property
    def tensor_cores(self) -> bool:
        """Whether mixed_float16 computes faster than float32."""
        return self.float16 > 1.5 * self.float32


def reserve_of(available: int, major: int) -> int:
    """Return the bytes that TensorFlow leaves to the system on a GPU.

    Args:
        available: Bytes that are free when it starts.
        major: First figure of the compute capability: 6 for a P100, 7 for V100 and T4, 8 for A100
            and L4.

    The law is MinSystemMemory of tensorflow/core/common_runtime/gpu/gpu_device.cc (2.18 to 2.20).

    >>> reserve_of(15 * 10**9, 7) // MIB
    1050
    """
    if available < 2**31:
        return 225 * MIB
    return {6: 500, 7: 1050, 8: 1536}.get(max(major, 6), 1800) * MIB


def _gpu(
    name: str, usable: int, major: int, speeds: tuple[float, float, float], source: str
) -> Device:
    """A GPU of the table: usable memory in MiB as logged, TFLOPS of float32 and 16, GB a second."""
    reserve = reserve_of(usable * MIB, major)
    single, half, bandwidth = speeds
    return Device(
        name,
        usable * MIB,
        CONTEXT,
        reserve,
        "gpu",
        single * TERA,
        half * TERA,
        bandwidth * GIGA,
        source,
    )


# Usable memory is what TensorFlow logs as "Created device ... with N MB memory", in public logs of
# 2.18 to 2.20 where there are any, the lowest of them; it moves with driver and version. Peaks are
# those of NVIDIA's data sheets, without sparsity.
DEVICES = {
    device.name: device
    for device in (
        _gpu(
            "T4",
            13_757,
            7,
            (8.1, 65, 320),
            "NVIDIA T4 data sheet; TensorFlow logs 13,757 to 13,942 MB, 13,737 in NVIDIA/DALI#1813",
        ),
        _gpu(
            "P100",
            15_401,
            6,
            # Twice as much in float16 on paper; without tensor cores cuDNN gains nothing by it.
            (9.3, 9.3, 732),
            "NVIDIA Tesla P100 PCIe 16 GB data sheet; TensorFlow logs 15,401 to 15,511 MB",
        ),
        _gpu(
            "V100",
            14_785,
            7,
            (15.7, 125, 900),
            "NVIDIA V100 SXM2 16 GB data sheet; TensorFlow logs 14,785 MB, 14,518 before 2.13",
        ),
        _gpu(
            "A100",
            38_482,
            8,
            (156, 312, 1555),
            "NVIDIA A100 40 GB SXM data sheet, TF32; TensorFlow logs 38,482 MB, 38,068 before 2.18",
        ),
        _gpu(
            "A100-80",
            79_188,
            8,
            (156, 312, 2039),
            "NVIDIA A100 80 GB SXM data sheet, TF32; TensorFlow logs 79,188 to 79,261 MB",
        ),
        _gpu(
            "L4",
            20_549,
            8,
            (60, 121, 300),
            "NVIDIA L4 data sheet, TF32; TensorFlow logs 20,549 to 20,967 MB",
        ),
    )
}
_OTHER_NAMES = {"A100-40": "A100"}
# As drivers call them: "Tesla P100-PCIE-16GB", "NVIDIA A100-SXM4-80GB", "NVIDIA L4".
_DRIVER = re.compile(r"(?:tesla|nvidia) (t4|p100|v100|a100|l4)\b(?:.*?\b(\d+)gb)?", re.IGNORECASE)


def device_named(name: str) -> Device:
    """Return a device by name, or one of so much memory, whose speed is not known.

    Args:
        name: In DEVICES, in any case, or as a driver calls it, or a size such as "16GB" or
            "15.9GiB": of all memory, as the driver shows it.

    Raises:
        UsageError: No such name ("did you mean"); less memory than the system takes.

    >>> device_named("t4").usable // MIB, device_named("16GB").usable // MIB
    (13757, 13432)
    """
    found = re.fullmatch(r" *(\d{1,6}(?:\.\d{1,6})?) *([MG]i?B) *", name, re.IGNORECASE)
    if not found:
        wanted = name.strip().upper()
        if _OTHER_NAMES.get(wanted, wanted) in DEVICES:
            return DEVICES[_OTHER_NAMES.get(wanted, wanted)]
        if (called := device_of_driver(name)) is not None:
            return called
        known = {**DEVICES, "16GB": DEVICES["T4"]}  # shown in the message: a size is a name too
        return look_up(known, wanted, "device")
    total = int(float(found[1]) * _UNITS[found[2].upper()])
    reserve = reserve_of(total - CONTEXT, _ANY_MAJOR)
    usable = total - CONTEXT - reserve
    if usable < 1:
        raise UsageError(
            f"a GPU of {name.strip()} has nothing left beside the {(CONTEXT + reserve) // MIB} MiB "
            "that CUDA and TensorFlow keep for themselves; give its memory, like 8GB"
        )
    source = f"{name.strip()}, less a CUDA context and the reserve of a chip of 2020 or later"
    return Device(name.strip(), usable, CONTEXT, reserve, source=source)


def device_of_driver(name: str) -> Device | None:
    """Return the device that a driver calls so, None where it is not in the table.

    >>> device_of_driver("Tesla P100-PCIE-16GB").name, device_of_driver("GeForce")
    ('P100', None)
    """
    found = _DRIVER.search(name)
    if not found:
        return None
    chip, size = found[1].upper(), found[2]
    sizes = {"V100": "16", "A100": "40"}
    if size and chip in sizes and size != sizes[chip]:
        return DEVICES.get(f"{chip}-{size}")
    return DEVICES[chip]


def this_cpu() -> Device:
    """Return the CPU of this machine, its speed guessed by its cores.

    >>> this_cpu().kind
    'cpu'
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    peak = (os.cpu_count() or 1) * 32 * GIGA  # 8 floats a multiply-add at 2 GHz
    return Device(
        "CPU", memory, 0, 0, "cpu", peak, peak, 20 * GIGA, "a common server's core, by their count"
    )
