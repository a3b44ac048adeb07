"""What a session on Kaggle may run on, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from carlib.errors import look_up


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What a session may run on.

    Args:
        name: As ``machine_shape`` wants it; "" for a CPU.
        kind: gpu, tpu or cpu.
        description: What it is.
        hours: The longest session.
        replacement: What Kaggle runs in its place, where it is retired. Defaults to "".
    """

    name: str
    kind: str
    description: str
    hours: float
    replacement: str = ""


# Limits: kaggle.com/docs/notebooks. Retired ones: _RETIRED_ACCELERATORS of kaggle 2.2.5.
ACCELERATORS = {
    each.name: each
    for each in (
        Accelerator("", "cpu", "4 cores, 29 GB", 12),
        Accelerator("NvidiaTeslaT4", "gpu", "two T4, 15 GB each", 12),
        Accelerator("NvidiaL4", "gpu", "four L4, 24 GB each; in some competitions only", 12),
        Accelerator("TpuV5E8", "tpu", "TPU v5e, 8 cores", 9),
        Accelerator("NvidiaTeslaP100", "gpu", "one P100, 16 GB", 12, "NvidiaTeslaT4"),
        Accelerator("TpuV38", "tpu", "TPU v3, 8 cores", 9, "TpuV5E8"),
        Accelerator("Tpu1VmV38", "tpu", "TPU v3, 8 cores", 9, "TpuV5E8"),
        Accelerator("TpuV232", "tpu", "TPU v2, 32 cores", 9, "a CPU"),
        Accelerator("TpuV2256", "tpu", "TPU v2, 256 cores", 9, "a CPU"),
    )
}
ALIASES = {
    "none": "",
    "CPU": "",
    "GPU": "NvidiaTeslaT4",
    "T4": "NvidiaTeslaT4",
    "T4x2": "NvidiaTeslaT4",
    "L4": "NvidiaL4",
    "P100": "NvidiaTeslaP100",
    "TPU": "TpuV5E8",
}


def accelerator_named(name: str) -> Accelerator:
    """Return an accelerator by Kaggle's name for it, or by a short one, in any case.

    Raises:
        UsageError: There is none of that name ("did you mean").

    >>> accelerator_named("T4").name
    'NvidiaTeslaT4'
    """
    known = {short: ACCELERATORS[full] for short, full in ALIASES.items()} | ACCELERATORS
    if name not in known:
        spelled = {each.lower(): each for each in known}
        del known[""]  # a CPU's name, which a list of the known would show as nothing
        return look_up(known, spelled.get(name.lower(), name), "accelerator")
    return known[name]
