"""Devices: memory by TensorFlow's own law, names as people and drivers write them."""

from __future__ import annotations

import dataclasses
import math

import pytest

from carlib.devices import (
    CONTEXT,
    DEVICES,
    MIB,
    Device,
    device_named,
    device_of_driver,
    reserve_of,
    this_cpu,
)
from carlib.errors import UsageError

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("available", "major", "mib"),
    [
        (2**31 - 1, 7, 225),
        (2**31, 5, 500),
        (2**31, 6, 500),
        (15 * 2**30, 7, 1050),
        (15 * 2**30, 8, 1536),
        (15 * 2**30, 9, 1800),
        (15 * 2**30, 10, 1800),
    ],
)
def test_the_reserve_is_tensorflows(available: int, major: int, mib: int) -> None:
    assert reserve_of(available, major) == mib * MIB


@pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))
def test_the_table_says_where_it_has_it_from(device: Device) -> None:
    assert "data sheet" in device.source
    assert "TensorFlow logs" in device.source
    assert f"{device.usable // MIB:,}" in device.source
    assert device.timed
    assert device.kind == "gpu"
    assert device.context == CONTEXT
    assert device.total > device.usable


# What the driver shows of each, GiB: "deviceMemorySize" in TensorFlow's logs, or CUDA's own.
SHOWN = {"T4": 14.75, "P100": 15.90, "V100": 15.78, "A100": 39.39, "A100-80": 79.15, "L4": 22.17}


@pytest.mark.parametrize("name", SHOWN)
def test_context_and_reserve_fill_what_the_log_leaves(name: str) -> None:
    """The parts add up to no more than the chip has, and to little less."""
    shown = SHOWN[name] * 2**30
    assert DEVICES[name].total <= shown
    assert shown - DEVICES[name].total < 0.02 * shown
    assert set(SHOWN) == set(DEVICES)


def test_what_gains_from_float16() -> None:
    gains = {name for name, device in DEVICES.items() if device.tensor_cores}
    assert gains == set(DEVICES) - {"P100"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("T4", "T4"),
        (" t4 ", "T4"),
        ("a100-80", "A100-80"),
        ("A100-40", "A100"),
        ("l4", "L4"),
        ("Tesla T4", "T4"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80"),
    ],
)
def test_a_name_in_any_case(name: str, found: str) -> None:
    assert device_named(name) is DEVICES[found]


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("16GB", 16 * 10**9),
        ("16 gb", 16 * 10**9),
        ("15.9GiB", int(15.9 * 2**30)),
        ("8192MiB", 8192 * 2**20),
        ("6000MB", 6000 * 10**6),
    ],
)
def test_a_size_is_a_device_of_unknown_speed(name: str, total: int) -> None:
    device = device_named(name)
    assert device.total == total
    assert device.usable == total - CONTEXT - 1536 * MIB
    assert not device.timed
    assert device.name == name


def test_a_small_chip_keeps_less() -> None:
    assert device_named("2GB").reserve == 225 * MIB


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("A10", "unknown device 'A10'; did you mean 'A100'"),
        ("TPU", "unknown device 'TPU'. Known: T4, P100, V100, A100, A100-80, L4, 16GB"),
        ("", "unknown device ''"),
        ("16", "unknown device '16'"),
        ("-16GB", "unknown device '-16GB'"),
        ("500MB", "a GPU of 500MB has nothing left beside the 515 MiB .* give its memory, like"),
        ("0GB", "a GPU of 0GB has nothing left"),
    ],
)
def test_what_is_no_device(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        device_named(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "tpu"}, "kind must be gpu or cpu; received 'tpu'"),
        ({"usable": 0}, "usable must be 1 byte or more; received 0"),
        ({"context": -1}, "context must be 0 or more; received -1"),
        ({"float16": math.inf}, "float16 must be 0 or more; received inf"),
        ({"bandwidth": math.nan}, "bandwidth must be 0 or more; received nan"),
    ],
)
def test_a_device_refuses_nonsense(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(DEVICES["T4"], **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Tesla T4", "T4"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla V100-SXM2-32GB", None),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100-80"),
        ("NVIDIA A100 80GB PCIe", "A100-80"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("NVIDIA GeForce RTX 3090", None),
        ("CPU", None),
    ],
)
def test_what_a_driver_calls_it(name: str, found: str | None) -> None:
    device = device_of_driver(name)
    assert (device and device.name) == found


def test_this_machine() -> None:
    device = this_cpu()
    assert (device.kind, device.context, device.reserve) == ("cpu", 0, 0)
    assert device.timed
    assert not device.tensor_cores
